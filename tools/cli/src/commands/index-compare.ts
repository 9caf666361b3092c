import { CorpusDifferenceSchema, TestFeatureResponseSchema, type FeatureTest } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { Command } from "commander";
import { connect } from "../clients.ts";
import { integer, run, type CommandContext } from "../command.ts";
import { formatNumber, formatTable, messageJson, oneLine } from "../output.ts";
import { allPages, featureName, resolveFeature, resolveSae, resourceName } from "../resources.ts";
import { textArgument } from "../sampling-options.ts";

interface CompareOptions {
  readonly sae?: string;
  readonly minFirings: number;
  readonly limit: number;
}

/** `index compare | test`. */
export function registerCompareVerbs(index: Command): void {
  index
    .command("compare")
    .description("List the features that fire differently on two corpora, the clearest difference first.")
    .argument("<corpus-a>", "corpora/{corpus} or its id")
    .argument("<corpus-b>", "corpora/{corpus} or its id")
    .option("--sae <sae>", "the SAE; the only one loaded otherwise")
    .option("--min-firings <n>", "leave features out that fire less often than this on both", integer({ min: 0 }), 10)
    .option("--limit <n>", "at most this many", integer({ min: 1 }), 50)
    .action(run(compare));
  index
    .command("test")
    .description("Run texts on a feature, now: where it fires, and how much. It needs no index.")
    .argument("<feature>", "its index, or models/{model}/saes/{sae}/features/{feature_index}")
    .argument("<text...>", "texts to run; - reads standard input")
    .option("--sae <sae>", "the SAE; the only one loaded otherwise")
    .action(run(test));
}

async function compare({ output, signal, address }: CommandContext, a: string, b: string, options: CompareOptions): Promise<void> {
  const clients = connect(address);
  const request = { sae: await resolveSae(clients, options.sae, signal), corpusA: resourceName("corpora", a), corpusB: resourceName("corpora", b), minFirings: BigInt(options.minFirings) };
  const differences = await allPages(async (pageToken) => {
    const page = await clients.featureIndex.compareCorpora({ ...request, pageSize: Math.min(options.limit, 1000), pageToken }, { signal });
    return { rows: page.differences, nextPageToken: page.nextPageToken };
  }, options.limit);
  output.table(
    differences,
    [
      { header: "feature", cell: ({ feature }) => feature?.featureIndex },
      { header: "z", cell: ({ zScore }) => zScore },
      { header: "log ratio", cell: ({ logRatio }) => logRatio },
      { header: "density a", cell: ({ fracNonzeroA }) => fracNonzeroA },
      { header: "density b", cell: ({ fracNonzeroB }) => fracNonzeroB },
      { header: "mean a", cell: ({ meanActivationA }) => meanActivationA },
      { header: "mean b", cell: ({ meanActivationB }) => meanActivationB },
      { header: "explanation", cell: ({ feature }) => feature?.explanations[0]?.description, maxWidth: 60 },
    ],
    (row) => messageJson(CorpusDifferenceSchema, row),
    "no feature fires often enough on either; ask for rarer ones with --min-firings",
  );
}

async function test({ output, signal, address }: CommandContext, given: string, texts: readonly string[], { sae }: { readonly sae?: string }): Promise<void> {
  const clients = connect(address);
  const name = featureName(await resolveFeature(clients, given, sae, signal));
  const prompts = texts.map((text) => ({ prompt: { case: "text", value: textArgument(text, "text") } as const }));
  const answer = await clients.featureIndex.testFeature({ name, prompts }, { signal });
  output.message(TestFeatureResponseSchema, answer, () =>
    formatTable(answer.tests, [
      { header: "max", cell: ({ maxActivation }) => maxActivation },
      { header: "fires on", cell: firesOn, align: "left", maxWidth: 60 },
      { header: "text", cell: ({ tokens }) => oneLine((tokens?.strTokens ?? []).join("")), align: "left", maxWidth: 60 },
    ]),
  );
}

function firesOn({ tokens, positions, values }: FeatureTest): string {
  const fired = positions.map((position, at) => ({ token: tokens?.strTokens[position] ?? "", value: values[at] ?? 0 }));
  return fired.length === 0 ? "nothing" : fired.toSorted((x, y) => y.value - x.value).map(({ token, value }) => `${JSON.stringify(token)} ${formatNumber(value)}`).join("  ");
}
