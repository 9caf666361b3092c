import { describeModel, openEngine, readModelSource, residualPoint, type ModelSource } from "@mistral-sae/model";
import { sha256File, tensorOf, writeSafetensors } from "@mistral-sae/tensor";
import type { Command } from "commander";
import { group, integer, integerList, run, wordList } from "../command.ts";
import { badInput, formatBytes, formatCount, formatFields, formatNumber } from "../output.ts";
import { userPath } from "../paths.ts";

interface LogitsOptions {
  readonly model: string;
  readonly tokens: readonly number[];
  readonly hooks?: readonly string[];
  readonly output: string;
  readonly threads?: number;
}

/** `model inspect | logits`: model folders on disk, no service needed. */
export function registerModelCommands(program: Command): void {
  const model = group(program, "model", "Models: what is loaded, loading, what a folder holds.");
  model
    .command("inspect")
    .description("Check a model folder and tell what it holds.")
    .argument("<folder>", "folder in the Hugging Face layout: config.json and *.safetensors")
    .action(run(inspect));
  model
    .command("logits")
    .description("Run tokens through a model folder: writes logits [T, vocab] and one tensor [T, d_model] for each hook, f32.")
    .requiredOption("--model <folder>", "folder in the Hugging Face layout")
    .requiredOption("--tokens <ids>", "token ids joined by commas, read as they are: put BOS first where the model wants it", integerList({ min: 0 }))
    .option("--hooks <hooks>", "residual hooks joined by commas, e.g. blocks.2.hook_resid_post", wordList)
    .requiredOption("--output <file.safetensors>", "where to write; replaced when it is there")
    .option("--threads <n>", "threads (default: every core)", integer({ min: 1 }))
    .addHelpText("after", "\nExample:\n  mistral-sae model logits --model ./my-model --tokens 1,465,456 --hooks blocks.2.hook_resid_post --output out.safetensors")
    .action(run(logits));
}

type Context = Parameters<Parameters<typeof run>[0]>[0];

async function inspect({ output }: Context, folder: string): Promise<void> {
  const source = await readModelSource(userPath(folder));
  const info = await describeModel(source);
  const { config, weights } = source;
  const facts = {
    folder: info.modelDir,
    architecture: info.architecture,
    refused_inputs: info.refusedInputs,
    n_layers: info.nLayers,
    d_model: info.dModel,
    n_heads: info.nHeads,
    n_key_value_heads: info.nKeyValueHeads,
    d_head: info.dHead,
    d_mlp: info.dMlp,
    d_vocab: info.dVocab,
    max_position_embeddings: config.maxPositions,
    n_ctx: info.nCtx,
    sliding_windows: config.slidingWindows.map((window) => window ?? null),
    rope_theta: config.rope.theta,
    rope_scaling: config.rope.scaling,
    rms_norm_eps: config.normEpsilon,
    tie_word_embeddings: config.tiedEmbeddings,
    bos_token_id: info.bosTokenId ?? null,
    eos_token_ids: info.eosTokenIds,
    parameters: info.parameters,
    dtypes: info.storedDtypes,
    files: weights.files,
    f32_bytes: info.parameters * Float32Array.BYTES_PER_ELEMENT,
    digest: info.digest,
    hooks: info.hooks.filter(({ readable }) => readable).map(({ hookName }) => hookName),
  };
  output.result(facts, () => inspectionText(source, info, facts.f32_bytes));
}

function inspectionText({ config, weights }: ModelSource, info: Awaited<ReturnType<typeof describeModel>>, bytes: number): string {
  return formatFields([
    ["folder", info.modelDir],
    ["architecture", `${info.architecture}${config.hasVision ? ", its language model alone: images are refused" : ""}`],
    ["layers", info.nLayers],
    ["d_model", info.dModel],
    ["heads", `${info.nHeads} of ${info.dHead}, ${info.nKeyValueHeads} for keys and values`],
    ["d_mlp", info.dMlp],
    ["vocabulary", `${formatCount(info.dVocab)}${config.tiedEmbeddings ? ", head tied to the embedding" : ""}`],
    ["context", `${formatCount(config.maxPositions)}${info.nCtx < config.maxPositions ? `, ${formatCount(info.nCtx)} by default` : ""}`],
    ["sliding window", windowsText(config.slidingWindows)],
    ["rope theta", `${formatNumber(config.rope.theta)}${config.rope.scaling.kind === "default" ? "" : `, scaled as ${config.rope.scaling.kind}`}`],
    ["parameters", formatCount(info.parameters)],
    ["weights", `${info.storedDtypes.join(", ")} in ${weights.files.length === 1 ? "one file" : `${weights.files.length} files`}; ${formatBytes(bytes)} when computed in f32`],
    ["hooks", `blocks.0 to ${info.nLayers - 1}: hook_resid_pre, hook_resid_post`],
    ["digest", info.digest],
  ]);
}

function windowsText(windows: readonly (number | undefined)[]): string {
  const distinct = [...new Set(windows)];
  const texts = distinct.map((window) => (window === undefined ? "none" : formatCount(window)));
  return texts.length === 1 ? texts.join() : `${texts.join(" and ")}, by layer`;
}

async function logits({ output, signal }: Context, options: LogitsOptions): Promise<void> {
  const target = userPath(options.output);
  const hooks = [...new Set(options.hooks ?? [])];
  const largest = options.tokens.find((token) => token > 0xffff_ffff);
  if (largest !== undefined) throw badInput("a token id is too large", { field: "--tokens", got: String(largest), wanted: "ids of the model's vocabulary" });
  const tokens = Uint32Array.from(options.tokens);
  const progress = output.progress("load");
  const engine = await openEngine({ modelDir: userPath(options.model), signal, ...(options.threads === undefined ? {} : { threads: options.threads }) });
  try {
    progress.finish();
    const { dVocab, dModel, nLayers } = engine.info;
    for (const hook of hooks) residualPoint(hook, nLayers, "--hooks");
    const rows = new Map<string, Float32Array>();
    if (hooks.length > 0) {
      for await (const batch of engine.forward([{ tokens }], { taps: hooks.map((hook) => ({ hook })), signal })) {
        for (const [i, hook] of hooks.entries()) rows.set(hook, batch.residuals[i] ?? new Float32Array());
      }
    }
    const { logits: all } = await engine.logits({ tokens }, { positions: "all", signal });
    await writeSafetensors(target, {
      logits: tensorOf(all, [tokens.length, dVocab]),
      ...Object.fromEntries([...rows].map(([hook, values]) => [hook, tensorOf(values, [tokens.length, dModel])])),
    });
    const tensors = [{ name: "logits", shape: [tokens.length, dVocab] }, ...hooks.map((name) => ({ name, shape: [tokens.length, dModel] }))];
    output.result({ output: target, sha256: await sha256File(target), tokens: tokens.length, tensors }, () =>
      formatFields([["written", target], ...tensors.map(({ name, shape }) => [name, `[${shape.join(", ")}] f32`] as const)]),
    );
  } finally {
    await engine.close();
  }
}
