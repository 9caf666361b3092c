import {
  AggregateSchema,
  SearchByTextResponseSchema,
  SearchExplanationsResponseSchema,
  TopFeaturesByTokenResponseSchema,
  type TopFeaturesByTokenResponse,
} from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { Command } from "commander";
import { connect } from "../clients.ts";
import { decimal, integer, run, type CommandContext } from "../command.ts";
import { enumValue, enumWords } from "../enums.ts";
import { formatNumber, formatTable, oneLine } from "../output.ts";
import { allPages, resolveSae } from "../resources.ts";
import { textArgument } from "../sampling-options.ts";
import { sparseRows } from "../sparse-rows.ts";
import { corpusName } from "./index-feature.ts";

interface SearchOptions {
  readonly sae?: string;
  readonly corpus?: string;
  readonly limit: number;
  readonly textWeight?: number;
}

interface TopOptions {
  readonly sae?: string;
  readonly byToken?: boolean;
  readonly aggregate: string;
  readonly limit?: number;
  readonly maxDensity?: number;
  readonly specialTokens?: boolean;
}

/** `index search | top`. */
export function registerSearchVerbs(index: Command): void {
  index
    .command("search")
    .description("Find features by words and by meaning: in their explanations, the tokens they fire on and promote, and by vectors.")
    .argument("<words...>", "what to look for")
    .option("--sae <sae>", "the SAE; the only one loaded otherwise")
    .option("--corpus <corpus>", "corpus; the SAE's newest index otherwise")
    .option("--text-weight <share>", "what words count against vectors, 0 to 1 (default: 0.5, or 1 while there are no vectors)", decimal({ min: 0, max: 1 }))
    .option("--limit <n>", "at most this many", integer({ min: 1 }), 20)
    .action(run(search));
  index
    .command("top")
    .description("Find the features that a text fires most, over the whole text or token by token.")
    .argument("<text>", "text to read; - reads standard input")
    .option("--sae <sae>", "the SAE; the only one loaded otherwise")
    .option("--by-token", "the strongest features of each token")
    .option("--aggregate <how>", `how values over tokens become one: ${enumWords(AggregateSchema).join(", ")}`, "max")
    .option("--max-density <share>", "leave features out that fire on more than this share of the corpus", decimal({ min: 0, max: 1 }))
    .option("--limit <n>", "features shown (default: 20, or 5 a token)", integer({ min: 1 }))
    .option("--special-tokens", "count what fires on special tokens too")
    .action(run(top));
}

async function search({ output, signal, address }: CommandContext, words: readonly string[], options: SearchOptions): Promise<void> {
  const clients = connect(address);
  const parent = await resolveSae(clients, options.sae, signal);
  const query = words.join(" ");
  const { textWeight } = options;
  let vectorSource = "";
  let nPending = 0n;
  const hits = await allPages(async (pageToken) => {
    const page = await clients.featureIndex.searchExplanations(
      { parent, query, pageSize: Math.min(options.limit, 1000), pageToken, corpus: corpusName(options.corpus), ...(textWeight === undefined ? {} : { textWeight }) },
      { signal },
    );
    ({ vectorSource, nPending } = page);
    return { rows: page.hits, nextPageToken: page.nextPageToken };
  }, options.limit);
  const message = { $typeName: SearchExplanationsResponseSchema.typeName, hits, nextPageToken: "", vectorSource, nPending } as const;
  if (nPending > 0n) output.note(`${nPending} explanations have no vector yet and are found by their words alone`);
  output.message(SearchExplanationsResponseSchema, message, () =>
    hits.length === 0
      ? `nothing found for "${query}"`
      : formatTable(hits, [
          { header: "feature", cell: ({ feature }) => feature?.featureIndex },
          { header: "match", cell: ({ value }) => value },
          { header: "max", cell: ({ feature }) => feature?.maxActivation },
          { header: "density", cell: ({ feature }) => feature?.fracNonzero },
          { header: "explanation", cell: ({ feature }) => feature?.explanations[0]?.description, maxWidth: 80 },
        ]),
  );
}

async function top({ output, signal, address }: CommandContext, given: string, options: TopOptions): Promise<void> {
  const clients = connect(address);
  const sae = await resolveSae(clients, options.sae, signal);
  const prompt = { prompt: { case: "text", value: textArgument(given, "text") } } as const;
  if (options.byToken === true) {
    const answer = await clients.featureIndex.topFeaturesByToken({ prompt, sae, topK: options.limit ?? 5 }, { signal });
    return output.message(TopFeaturesByTokenResponseSchema, answer, () => tokenTable(answer));
  }
  const answer = await clients.featureIndex.searchByText(
    {
      prompt,
      saes: [sae],
      aggregate: enumValue(AggregateSchema, options.aggregate, "--aggregate"),
      numResults: options.limit ?? 20,
      ignoreSpecialTokens: options.specialTokens !== true,
      ...(options.maxDensity === undefined ? {} : { densityThreshold: options.maxDensity }),
    },
    { signal },
  );
  const tokens = answer.tokens?.strTokens ?? [];
  output.message(SearchByTextResponseSchema, answer, () =>
    answer.matches.length === 0
      ? "the text fires no feature"
      : formatTable(answer.matches, [
          { header: "feature", cell: ({ featureIndex }) => featureIndex },
          { header: options.aggregate, cell: ({ value }) => value },
          { header: "density", cell: ({ fracNonzero }) => fracNonzero },
          { header: "on", cell: ({ positions }) => positions.slice(0, 6).map((at) => oneLine(tokens[at] ?? "")).join("|"), maxWidth: 30 },
          { header: "explanation", cell: ({ description }) => description, maxWidth: 70 },
        ]),
  );
}

function tokenTable(answer: TopFeaturesByTokenResponse): string {
  const rows = answer.code === undefined ? [] : sparseRows(answer.code);
  const lines = rows.map((pairs, at) => ({ token: JSON.stringify(answer.tokens?.strTokens[at] ?? ""), pairs }));
  return formatTable(lines, [
    { header: "token", cell: ({ token }) => token, align: "left" },
    { header: "features", cell: ({ pairs }) => pairs.map(({ feature, value }) => `${feature} (${formatNumber(value)})`).join("  "), align: "left" },
  ]);
}
