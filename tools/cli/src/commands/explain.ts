import {
  BatchExplainResultSchema,
  ExplanationSchema,
  ExplanationStatus,
  ExplanationStatusSchema,
  ScoreType,
  ScoreTypeSchema,
  type Explanation,
} from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import type { Command } from "commander";
import { connect, type Clients } from "../clients.ts";
import { decimal, integer, run, type CommandContext } from "../command.ts";
import { enumWord } from "../enums.ts";
import { responseOf, waitFor } from "../operations.ts";
import { badInput, formatCount, formatFields, formatNumber, missing } from "../output.ts";
import { featureName, resolveFeature, resolveSae } from "../resources.ts";

interface ExplainOptions {
  readonly sae?: string;
  readonly all?: boolean;
  readonly type?: string;
  readonly llmModel?: string;
  readonly seed?: number;
  readonly force?: boolean;
  readonly maxCostUsd?: number;
  readonly score?: boolean;
  readonly types?: boolean;
}

/** `explain`. */
export function registerExplainCommand(program: Command): void {
  program
    .command("explain")
    .description("Say in words what features do: by an LLM where an endpoint is configured, else by a local summary.")
    .argument("[features...]", "feature indices, or models/{model}/saes/{sae}/features/{feature_index}")
    .option("--sae <sae>", "the SAE; the only one loaded otherwise")
    .option("--all", "every live feature, as a job")
    .option("--type <method>", "method, e.g. local_summary or eleuther_acts_top20")
    .option("--llm-model <name>", "model at the endpoint")
    .option("--seed <n>", "seed of the sampler", integer({ min: 0 }))
    .option("--force", "explain again even if the same explanation exists")
    .option("--max-cost-usd <usd>", "stop before this much money", decimal({ min: 0 }))
    .option("--score", "score each by detection afterwards")
    .option("--types", "list the methods, and what each needs")
    .addHelpText("after", "\nExamples:\n  mistral-sae explain 12\n  mistral-sae explain --all --type local_summary")
    .action(run(explain));
}

async function explain(context: CommandContext, features: readonly string[], options: ExplainOptions): Promise<void> {
  const { output, signal } = context;
  const clients = connect(context.address);
  if (options.types === true) return listTypes(context, clients);
  const config = { explanationType: options.type ?? "", explanationModel: options.llmModel ?? "", seed: BigInt(options.seed ?? 0) };
  if (features.length === 1 && features[0] !== undefined && options.score !== true) {
    const feature = featureName(await resolveFeature(clients, features[0], options.sae, signal));
    const { explanation } = await clients.explanation.explain({ feature, config, force: options.force ?? false }, { signal });
    if (explanation === undefined) throw missing(`${feature} has no explanation`);
    return output.message(ExplanationSchema, explanation, () => describeExplanation(explanation));
  }
  if (features.length === 0 && options.all !== true) throw badInput("which features?", { wanted: "feature indices, or --all" });
  if (features.length > 0 && options.all === true) throw badInput("feature indices and --all cannot both be given");
  const resolved = await Promise.all(features.map((given) => resolveFeature(clients, given, options.sae, signal)));
  const parents = new Set(resolved.map(({ sae }) => sae));
  if (parents.size > 1) throw badInput("the features are of several SAEs", { got: [...parents].join(", "), wanted: "features of one SAE" });
  const { operation } = await clients.explanation.batchExplain(
    {
      parent: resolved[0]?.sae ?? (await resolveSae(clients, options.sae, signal)),
      featureIndices: resolved.map(({ index }) => index),
      config,
      ...(options.maxCostUsd === undefined ? {} : { maxCostUsd: options.maxCostUsd }),
      ...(options.score === true ? { score: { scoreTypes: [ScoreType.DETECTION] } } : {}),
    },
    { signal },
  );
  const result = responseOf(await waitFor(clients, operation, "explain", context), BatchExplainResultSchema);
  output.message(BatchExplainResultSchema, result, () =>
    formatFields([
      ["explained", formatCount(result.nOk)],
      ["already there", formatCount(result.nExisting)],
      ["skipped", formatCount(result.nSkipped)],
      ["failed", formatCount(result.nFailed)],
      ["cost", result.costUsd > 0 ? `$${formatNumber(result.costUsd)}` : undefined],
    ]),
  );
}

async function listTypes({ output, signal }: CommandContext, clients: Clients): Promise<void> {
  const { types } = await clients.explanation.listExplanationTypes({}, { signal });
  output.table(
    types,
    [
      { header: "method", cell: ({ type }) => type },
      { header: "available", cell: ({ available }) => (available ? "yes" : "no") },
      { header: "what", cell: ({ description }) => description, maxWidth: 70 },
      { header: "why not", cell: ({ unavailableReason }) => unavailableReason },
    ],
    ({ type, description, available, unavailableReason, needsLlm }) => ({ type, description, available, unavailable_reason: unavailableReason, needs_llm: needsLlm }),
  );
}

function describeExplanation(explanation: Explanation): string {
  return formatFields([
    ["explanation", explanation.name],
    ["says", explanation.description],
    ["method", explanation.explanationType],
    ["by", explanation.explanationModel === "" ? "local summary (no LLM)" : explanation.explanationModel],
    ["status", explanation.status === ExplanationStatus.OK ? undefined : `${enumWord(ExplanationStatusSchema, explanation.status)}: ${explanation.statusReason}`],
    ["cost", explanation.costUsd > 0 ? `$${formatNumber(explanation.costUsd)}` : undefined],
    ...explanation.scores.map((one) => [enumWord(ScoreTypeSchema, one.scoreType), one.metrics?.balancedAccuracy] as const),
  ]);
}
