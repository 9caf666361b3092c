import type { MessageInitShape } from "@bufbuild/protobuf";
import { BatchExplainResultSchema, ScoreSchema, ScoreTypeSchema, type Score, type ScoreConfigSchema } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import type { Command } from "commander";
import { connect, type Clients } from "../clients.ts";
import { integer, run, wordList, type CommandContext } from "../command.ts";
import { enumValue, enumWord, enumWords } from "../enums.ts";
import { responseOf, waitFor } from "../operations.ts";
import { formatCount, formatTable, messageJson, missing } from "../output.ts";
import { allPages, featureName, resolveFeature, resolveSae } from "../resources.ts";

interface ScoreOptions {
  readonly sae?: string;
  readonly type?: readonly string[];
  readonly llmModel?: string;
  readonly seed?: number;
  readonly nTest?: number;
}

/** `score`. */
export function registerScoreCommand(program: Command): void {
  program
    .command("score")
    .description("Score how well explanations predict their features; needs an LLM endpoint.")
    .argument("[features...]", "feature indices or explanation names; every explained feature otherwise")
    .option("--sae <sae>", "the SAE; the only one loaded otherwise")
    .option("--type <scorers>", `scorers: ${enumWords(ScoreTypeSchema).join(", ")}`, wordList)
    .option("--llm-model <name>", "model at the endpoint")
    .option("--n-test <n>", "activating examples", integer({ min: 1 }))
    .option("--seed <n>", "seed of the sampler", integer({ min: 0 }))
    .action(run(score));
}

async function score(context: CommandContext, given: readonly string[], options: ScoreOptions): Promise<void> {
  const { output, signal } = context;
  const clients = connect(context.address);
  const config: MessageInitShape<typeof ScoreConfigSchema> = {
    scoreTypes: (options.type ?? ["detection"]).map((word) => enumValue(ScoreTypeSchema, word, "--type")),
    scoreModel: options.llmModel ?? "",
    nTest: options.nTest ?? 0,
    seed: BigInt(options.seed ?? 0),
  };
  if (given.length === 0) {
    const parent = await resolveSae(clients, options.sae, signal);
    const { operation } = await clients.explanation.batchScoreExplanations({ parent, config }, { signal });
    const result = responseOf(await waitFor(clients, operation, "score", context), BatchExplainResultSchema);
    return output.message(BatchExplainResultSchema, result, () => `${formatCount(result.nOk)} scored, ${formatCount(result.nFailed)} failed`);
  }
  const scores: Score[] = [];
  for (const one of given) {
    for (const name of await explanationNames(clients, one, options.sae, signal)) {
      scores.push(...(await clients.explanation.scoreExplanation({ name, config }, { signal })).scores);
    }
  }
  output.result(
    scores.map((row) => messageJson(ScoreSchema, row)),
    () => formatTable(scores, SCORE_COLUMNS),
  );
}

const SCORE_COLUMNS = [
  { header: "explanation", cell: ({ name }: Score) => name.slice(0, name.indexOf("/scores/")) },
  { header: "scorer", cell: ({ scoreType }: Score) => enumWord(ScoreTypeSchema, scoreType) },
  { header: "balanced", cell: ({ metrics }: Score) => metrics?.balancedAccuracy },
  { header: "control", cell: ({ randomControl }: Score) => randomControl?.balancedAccuracy },
  { header: "f1", cell: ({ metrics }: Score) => metrics?.f1 },
  { header: "examples", cell: ({ n }: Score) => n },
  { header: "failed", cell: ({ nFailed }: Score) => nFailed },
];

async function explanationNames(clients: Clients, given: string, sae: string | undefined, signal: AbortSignal): Promise<readonly string[]> {
  if (given.includes("/explanations/")) return [given];
  const parent = featureName(await resolveFeature(clients, given, sae, signal));
  const explanations = await allPages(async (pageToken) => {
    const page = await clients.explanation.listExplanations({ parent, pageSize: 1000, pageToken }, { signal });
    return { rows: page.explanations, nextPageToken: page.nextPageToken };
  });
  if (explanations.length === 0) throw missing(`${parent} is not explained`, { hint: `mistral-sae explain ${given}` });
  return explanations.map(({ name }) => name);
}
