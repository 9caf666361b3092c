import { StrengthUnitSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import {
  FindFeaturesResponseSchema,
  SteeringSuggestionsSchema,
  type SteeringSuggestion,
} from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import type { Command } from "commander";
import { connect } from "../clients.ts";
import { integer, integerList, repeated, run } from "../command.ts";
import { enumWord } from "../enums.ts";
import { responseOf, waitFor } from "../operations.ts";
import { formatNumber, formatTable, oneLine } from "../output.ts";
import { resolveSae } from "../resources.ts";

interface SuggestOptions {
  readonly sae?: string;
  readonly features?: readonly number[];
  readonly count?: number;
  readonly samples?: number;
  readonly maxTokens?: number;
  readonly prompt?: readonly string[];
  readonly seed?: number;
}

/** `steer find | suggest`. */
export function registerSuggestVerbs(steer: Command): void {
  steer
    .command("find")
    .description("Find the features that words describe.")
    .argument("<words...>", "what to look for")
    .option("--sae <sae>", "the SAE; the only one loaded otherwise")
    .option("--limit <n>", "at most this many", integer({ min: 1 }), 10)
    .action(
      run(async ({ output, signal, address }, words: readonly string[], options: { readonly sae?: string; readonly limit: number }) => {
        const clients = connect(address);
        const sae = await resolveSae(clients, options.sae, signal);
        const found = await clients.steering.findFeatures({ sae, query: words.join(" "), numResults: options.limit }, { signal });
        output.message(FindFeaturesResponseSchema, found, () =>
          found.features.length === 0
            ? "nothing found"
            : formatTable(found.features, [
                { header: "feature", cell: ({ feature }) => feature?.featureIndex },
                { header: "match", cell: ({ value }) => value },
                { header: "max", cell: ({ maxActivation }) => maxActivation },
                { header: "tokens", cell: ({ topTokens }) => topTokens.slice(0, 5).map((token) => oneLine(token)).join("|"), maxWidth: 40 },
                { header: "explanation", cell: ({ description }) => description, maxWidth: 60 },
              ]),
        );
      }),
    );
  steer
    .command("suggest")
    .description("Choose features that steer well, and a strength for each, by measuring what they do.")
    .option("--sae <sae>", "the SAE; the only one loaded otherwise")
    .option("--features <indices>", "only these features, e.g. 3,14,15", integerList({ min: 0 }))
    .option("--count <n>", "features to choose", integer({ min: 1 }))
    .option("--prompt <text>", "prompt to try on; may be given again", repeated)
    .option("--samples <n>", "texts sampled for each measurement", integer({ min: 1 }))
    .option("--max-tokens <n>", "tokens of a text", integer({ min: 1 }))
    .option("--seed <n>", "seed of all sampling", integer({ min: 0 }))
    .action(
      run(async (context, options: SuggestOptions) => {
        const { signal } = context;
        const clients = connect(context.address);
        const { operation } = await clients.steering.suggestSteering(
          {
            sae: await resolveSae(clients, options.sae, signal),
            numFeatures: options.count ?? 0,
            featureIndices: [...(options.features ?? [])],
            prompts: (options.prompt ?? []).map((text) => ({ prompt: { case: "text", value: text } })),
            numSamples: options.samples ?? 0,
            maxTokens: options.maxTokens ?? 0,
            seed: BigInt(options.seed ?? 0),
          },
          { signal },
        );
        const result = responseOf(await waitFor(clients, operation, "suggest", context), SteeringSuggestionsSchema);
        context.output.message(SteeringSuggestionsSchema, result, () =>
          [`${result.suggestions.length} chosen of ${result.nTried} measured`, ...result.suggestions.map(describe)].join("\n\n"),
        );
      }),
    );
}

function describe(one: SteeringSuggestion): string {
  const unit = enumWord(StrengthUnitSchema, one.unit);
  return [
    `feature ${one.feature?.featureIndex ?? "?"}  ${one.description}`,
    `  strength ${formatNumber(one.strength)} ${unit}; its words come ${formatNumber(one.lift)}× as often; NLL ${formatNumber(one.baselineNll)} → ${formatNumber(one.steeredNll)}`,
    `  concept   ${one.conceptWords.join(" ")}`,
    `  baseline  ${oneLine(one.prompt + one.baselineText, 160)}`,
    `  steered   ${oneLine(one.prompt + one.steeredText, 160)}`,
  ].join("\n");
}
