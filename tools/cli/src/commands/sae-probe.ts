import { ProbeTaskKindSchema, SaeProbingSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/probe";
import type { Command } from "commander";
import { connect } from "../clients.ts";
import { group, integer, integerList, run, wordList } from "../command.ts";
import { enumValue, enumWords } from "../enums.ts";
import { responseOf, waitFor } from "../operations.ts";
import { corpusUri } from "../paths.ts";
import { resolveSae } from "../resources.ts";
import { probingText } from "../sae/probing-text.ts";

interface ProbeOptions {
  readonly corpus?: readonly string[];
  readonly kinds?: readonly string[];
  readonly ks?: readonly number[];
  readonly tokens?: number;
  readonly maxTasks?: number;
  readonly contextSize?: number;
  readonly absorption?: boolean;
  readonly seed?: number;
}

/** `sae probe`. */
export function registerSaeProbeCommand(program: Command): void {
  const sae = group(program, "sae", "Sparse autoencoders: the registry of the running system, and folders on disk.");
  sae
    .command("probe")
    .description("Measure k-sparse probing, and absorption, on tasks made from a corpus: trained on its documents, tested on the held-back ones.")
    .argument("[sae]", "models/{model}/saes/{sae}, model/sae or its id; the only one loaded otherwise")
    .requiredOption("--corpus <path...>", "text: jsonl, jsonl.zst, txt, md, parquet; files, folders or globs")
    .option("--kinds <kinds>", `kinds of tasks, separated by commas: ${enumWords(ProbeTaskKindSchema).join(", ")}; all otherwise`, wordList)
    .option("--ks <numbers>", "features that a probe may use, separated by commas (default: 1,2,5,20)", integerList({ min: 1 }))
    .option("--tokens <n>", "tokens to read (default: 200000)", integer({ min: 1 }))
    .option("--max-tasks <n>", "tasks of each kind, at most (default: 26)", integer({ min: 1 }))
    .option("--context-size <n>", "tokens of a window; the SAE's own otherwise", integer({ min: 2 }))
    .option("--absorption", "measure absorption of first letters; needs the kind letter")
    .option("--seed <n>", "seed of the choice of tokens (default: 0)", integer({ min: 0 }))
    .action(
      run(async (context, given: string | undefined, options: ProbeOptions) => {
        const clients = connect(context.address);
        const { operation } = await clients.training.probeSae(
          {
            sae: await resolveSae(clients, given, context.signal),
            corpus: { uri: corpusUri(options.corpus ?? []) },
            kinds: (options.kinds ?? []).map((kind) => enumValue(ProbeTaskKindSchema, kind, "--kinds")),
            ks: [...(options.ks ?? [])],
            contextSize: options.contextSize ?? 0,
            absorption: options.absorption ?? false,
            seed: BigInt(options.seed ?? 0),
            ...(options.tokens === undefined ? {} : { tokens: BigInt(options.tokens) }),
            ...(options.maxTasks === undefined ? {} : { maxTasks: options.maxTasks }),
          },
          { signal: context.signal },
        );
        const found = responseOf(await waitFor(clients, operation, "probe", context), SaeProbingSchema);
        context.output.message(SaeProbingSchema, found, () => probingText(found));
      }),
    );
}
