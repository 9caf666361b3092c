import { SaeEvaluationSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import type { Command } from "commander";
import { connect } from "../clients.ts";
import { group, integer, run } from "../command.ts";
import { responseOf, waitFor } from "../operations.ts";
import { corpusUri } from "../paths.ts";
import { resolveSae } from "../resources.ts";
import { evaluationText } from "../sae/evaluation-text.ts";

interface EvaluateOptions {
  readonly corpus?: readonly string[];
  readonly tokens?: number;
  readonly contextSize?: number;
  readonly allDocuments?: boolean;
}

/** `sae evaluate`. */
export function registerSaeEvaluateCommand(program: Command): void {
  const sae = group(program, "sae", "Sparse autoencoders: the registry of the running system, and folders on disk.");
  sae
    .command("evaluate")
    .description("Measure an SAE on text through the real model: reconstruction, sparsity, dead features, cross-entropy and KL, decoder similarity.")
    .argument("[sae]", "models/{model}/saes/{sae}, model/sae or its id; the only one loaded otherwise")
    .requiredOption("--corpus <path...>", "text: jsonl, jsonl.zst, txt, md, parquet; files, folders or globs")
    .option("--tokens <n>", "tokens to read", integer({ min: 1 }))
    .option("--context-size <n>", "tokens of a window; the SAE's own otherwise", integer({ min: 2 }))
    .option("--all-documents", "read every document, not only the held-back ones")
    .action(
      run(async (context, given: string | undefined, options: EvaluateOptions) => {
        const clients = connect(context.address);
        const { operation } = await clients.training.evaluateSae(
          {
            sae: await resolveSae(clients, given, context.signal),
            corpus: { uri: corpusUri(options.corpus ?? []) },
            contextSize: options.contextSize ?? 0,
            allDocuments: options.allDocuments ?? false,
            ...(options.tokens === undefined ? {} : { evalTokens: BigInt(options.tokens) }),
          },
          { signal: context.signal },
        );
        const measured = responseOf(await waitFor(clients, operation, "evaluate", context), SaeEvaluationSchema);
        context.output.message(SaeEvaluationSchema, measured, () => evaluationText(measured));
      }),
    );
}
