import { FeatureSchema, FeatureView, type ActivationExample, type Feature } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import type { Command } from "commander";
import { connect } from "../clients.ts";
import { integer, run } from "../command.ts";
import { formatCount, formatFields, formatNumber, messageJson, missing, oneLine } from "../output.ts";
import { allPages, featureName, resolveFeature, resolveSae, resourceName } from "../resources.ts";
import { bars } from "../sparkline.ts";

interface FeatureOptions {
  readonly sae?: string;
  readonly corpus?: string;
  readonly examples: number;
  readonly contextTokens?: number;
}

interface FeaturesOptions {
  readonly sae?: string;
  readonly corpus?: string;
  readonly filter?: string;
  readonly orderBy?: string;
  readonly limit: number;
}

/** `index feature | features`. */
export function registerFeatureVerbs(index: Command): void {
  index
    .command("feature")
    .description("Show a feature: statistics, logits, explanation, examples, neighbours.")
    .argument("<feature>", "its index, or models/{model}/saes/{sae}/features/{feature_index}")
    .option("--sae <sae>", "the SAE; the only one loaded otherwise")
    .option("--corpus <corpus>", "corpus; the SAE's newest index otherwise")
    .option("--examples <n>", "examples to show", integer({ min: 0 }), 10)
    .option("--context-tokens <n>", "tokens before and after in examples", integer({ min: 0 }))
    .action(
      run(async ({ output, signal, address }, given: string, options: FeatureOptions) => {
        const clients = connect(address);
        const name = featureName(await resolveFeature(clients, given, options.sae, signal));
        const { feature } = await clients.featureIndex.getFeature(
          {
            name,
            view: FeatureView.FULL,
            corpus: corpusName(options.corpus),
            ...(options.contextTokens === undefined ? {} : { contextTokens: options.contextTokens }),
          },
          { signal },
        );
        if (feature === undefined) throw missing(`${name} is not indexed`);
        output.message(FeatureSchema, feature, () => describeFeature(feature, options.examples));
      }),
    );
  index
    .command("features")
    .description("List features by filter and order.")
    .option("--sae <sae>", "the SAE; the only one loaded otherwise")
    .option("--corpus <corpus>", "corpus; the SAE's newest index otherwise")
    .option("--filter <filter>", 'e.g. "frac_nonzero < 0.01 AND max_activation > 5"')
    .option("--order-by <order>", 'e.g. "max_activation desc"')
    .option("--limit <n>", "at most this many", integer({ min: 1 }), 50)
    .action(
      run(async ({ output, signal, address }, options: FeaturesOptions) => {
        const clients = connect(address);
        const parent = await resolveSae(clients, options.sae, signal);
        const features = await allPages(async (pageToken) => {
          const page = await clients.featureIndex.listFeatures(
            {
              parent,
              pageSize: Math.min(options.limit, 1000),
              pageToken,
              filter: options.filter ?? "",
              orderBy: options.orderBy ?? "",
              corpus: corpusName(options.corpus),
            },
            { signal },
          );
          return { rows: page.features, nextPageToken: page.nextPageToken };
        }, options.limit);
        output.table(
          features,
          [
            { header: "feature", cell: ({ featureIndex }) => featureIndex },
            { header: "density", cell: ({ fracNonzero }) => fracNonzero },
            { header: "max", cell: ({ maxActivation }) => maxActivation },
            { header: "mean", cell: ({ meanActivation }) => meanActivation },
            { header: "promotes", cell: ({ posLogits }) => posLogits.slice(0, 4).map(({ strToken }) => oneLine(strToken)).join(" "), maxWidth: 30 },
            { header: "explanation", cell: ({ explanations }) => explanations[0]?.description, maxWidth: 60 },
          ],
          (row) => messageJson(FeatureSchema, row),
        );
      }),
    );
}

/** A corpus by name or id; empty stays empty. */
export function corpusName(given: string | undefined): string {
  return given === undefined ? "" : resourceName("corpora", given);
}

function describeFeature(feature: Feature, nExamples: number): string {
  const tokens = (logits: Feature["posLogits"]): string => logits.slice(0, 10).map(({ strToken, logit }) => `${shown(strToken)} ${formatNumber(logit)}`).join("  ");
  const near = (rows: Feature["nearest"]): string => rows.slice(0, 5).map(({ featureIndex, value }) => `${featureIndex} (${value.toFixed(2)})`).join("  ");
  const histogram = feature.freqHist;
  const head = formatFields([
    ["feature", feature.name],
    ["hook", feature.hookName],
    ...feature.explanations.slice(0, 3).map((one) => [one.explanationType, one.score === undefined ? one.description : `${one.description} (score ${formatNumber(one.score)})`] as const),
    ["fires on", feature.dead ? "nothing: it is dead" : `${formatNumber(feature.fracNonzero * 100)}% of tokens (${formatCount(feature.nFirings)} times)`],
    ["activation", `max ${formatNumber(feature.maxActivation)}, mean ${formatNumber(feature.meanActivation)}`],
    ["histogram", histogram === undefined ? undefined : bars(histogram.counts.map(Number))],
    ["top tokens", feature.topTokens.slice(0, 10).map(({ strToken, n }) => `${shown(strToken)} ×${formatCount(n)}`).join("  ")],
    ["promotes", tokens(feature.posLogits)],
    ["suppresses", tokens(feature.negLogits)],
    ["alike", near(feature.nearest)],
    ["fires with", near(feature.correlated)],
  ]);
  const examples = feature.examples.slice(0, nExamples).map(describeExample);
  return examples.length === 0 ? head : `${head}\n\nexamples\n${examples.join("\n")}`;
}

function describeExample(example: ActivationExample): string {
  const firing = new Map(example.positions.map((position, at) => [position, example.values[at] ?? 0]));
  const strong = example.maxActivation / 2;
  const text = (example.tokens?.strTokens ?? []).map((token, position) => ((firing.get(position) ?? 0) > strong ? `[${token}]` : token)).join("");
  return `  ${formatNumber(example.maxActivation).padStart(7)}  ${oneLine(text)}`;
}

function shown(token: string): string {
  return JSON.stringify(token);
}
