import { availableParallelism } from "node:os";
import { corpusDir, demoModelDir } from "@mistral-sae/demo-model";
import { openEngine } from "@mistral-sae/model";
import { loadSae } from "@mistral-sae/sae";
import { Option, type Command } from "commander";
import { group, integer, repeated, run, type CommandContext } from "../command.ts";
import { badInput, formatFields, formatNumber, formatTable } from "../output.ts";
import { userPath } from "../paths.ts";
import { readSequences } from "../perplexity/text.ts";
import { type LoadOptions, loadOptionsOf, withLoadOptions } from "../sae/load-options.ts";
import { placeText, verifySae, type PlaceFit, type Verification } from "../sae/verify.ts";

interface VerifyOptions extends LoadOptions {
  readonly model?: string;
  readonly hookName?: string;
  readonly corpus?: readonly string[];
  readonly all?: boolean;
  readonly context: number;
  readonly tokens: number;
  readonly threads?: number;
}

/** `sae verify`. */
export function registerSaeVerifyCommand(program: Command): void {
  const sae = group(program, "sae", "Sparse autoencoders: the registry of the running system, and folders on disk.");
  withLoadOptions(
    sae
      .command("verify")
      .description("Try an SAE on a model at the hook it names, at those around it and with each normalisation; fails unless its own fit best.")
      .argument("<folder>", "SAE in any of the formats read")
      .option("--model <folder>", "model folder (default: the model that ships)")
      .option("--hook-name <hook>", "hook that wins over the file's")
      .option("--corpus <path>", "text: file, folder or glob; may be given again (default: the corpus that ships)", repeated)
      .option("--all", "take all documents, not only those that training holds back")
      .addOption(new Option("--context <n>", "tokens of a sequence").argParser(integer({ min: 2 })).default(128))
      .addOption(new Option("--tokens <n>", "tokens at most").argParser(integer({ min: 2 })).default(2048))
      .option("--threads <n>", "threads (default: every core)", integer({ min: 1 })),
  )
    .addHelpText("after", "\nA hook that a file names wrongly fails silently: the SAE loads, and explains nothing. Ends with exit code 2 and all figures then.\n\nExample:\n  mistral-sae sae verify runs/layer2")
    .action(run(verify));
}

async function verify({ output, signal }: CommandContext, folder: string, options: VerifyOptions): Promise<void> {
  const { sae, source } = await loadSae(userPath(folder), loadOptionsOf(options));
  for (const warning of source.warnings) output.warn(warning);
  const modelDir = options.model === undefined ? demoModelDir : userPath(options.model);
  const sequences = await readSequences(modelDir, { corpus: options.corpus ?? [corpusDir], all: options.all === true, context: options.context, maxTokens: options.tokens, signal });
  const threads = options.threads ?? availableParallelism();
  const engine = await openEngine({ modelDir, precision: "f32", signal, threads });
  let found: Verification;
  try {
    found = await verifySae(engine, sae, sequences, { hookName: options.hookName, signal, threads });
  } finally {
    await engine.close();
  }
  const places = [found.own, ...found.others];
  if (!found.accepted) {
    const figures = places.map((place) => `${placeText(place, found.own)} ${place.fvu.toPrecision(4)}`).join(", ");
    throw badInput(`${found.verdict}. FVU of all: ${figures}`, { file: source.path, field: "hook_name", got: found.own.hookName, wanted: "the place with the lowest FVU", hint: "--hook-name and --normalize-activations try others; `sae convert --hook-name` writes a copy" });
  }
  const json = ({ hookName, hookNameOut, normalizeActivations, fvu, l0 }: PlaceFit): Record<string, unknown> => ({ hook_name: hookName, ...(hookNameOut === undefined ? {} : { hook_name_out: hookNameOut }), normalize_activations: normalizeActivations, fvu, l0 });
  output.result({ accepted: true, verdict: found.verdict, rows: found.rows, ...json(found.own), others: found.others.map(json) }, () =>
    [
      formatFields([
        ["verdict", found.verdict],
        ["rows", String(found.rows)],
      ]),
      formatTable(places, [
        { header: "place", cell: (place) => placeText(place, found.own) },
        { header: "FVU", cell: ({ fvu }) => formatNumber(fvu) },
        { header: "L0", cell: ({ l0 }) => formatNumber(l0) },
      ]),
    ].join("\n\n"),
  );
}
