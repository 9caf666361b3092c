import type { ActivationExampleJson, FeatureJson, FeatureLogitJson, HistogramJson, SimilarFeatureJson } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import type { GetFeatureResponseJson, ListActivationsResponseJson } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { call } from "../api.ts";
import { histogram } from "../charts.ts";
import { card, failure, field, h, replace, table } from "../dom.ts";
import { count, num, percent, short, token } from "../format.ts";
import { currentSae, featureHref } from "../saes.ts";
import { steerBox } from "../steer-box.ts";
import { warmTokens } from "../token-text.ts";

const GROUPS: readonly (readonly [string, string])[] = [
  ["TOP", "strongest"],
  ["QUANTILE_COUNT", "across all ranks"],
  ["QUANTILE_VALUE", "across all strengths"],
  ["RANDOM", "at random"],
];

/** A feature: what it says, where it fires, what it promotes, what is like it, and a box to steer by it. */
export async function featurePage(root: HTMLElement, path: readonly string[], parameters: URLSearchParams, signal: AbortSignal): Promise<void> {
  const index = Number(path[0]);
  if (!Number.isSafeInteger(index) || index < 0) throw new Error(`"${path[0] ?? ""}" is no feature; wanted its index, 0 or more.`);
  const sae = await currentSae(parameters, signal);
  const saeName = sae.name ?? "";
  const name = `${saeName}/features/${index}`;
  const { feature } = await call<GetFeatureResponseJson>("featureIndex", "GetFeature", { name, view: "FEATURE_VIEW_FULL" }, signal);
  if (feature === undefined) throw new Error(`${name} is not indexed.`);
  const last = num(sae.dSae) - 1;
  const best = feature.explanations?.[0];
  document.title = `Feature ${index} · mistral-sae`;
  replace(
    root,
    h(
      "h1",
      {},
      `Feature ${index}`,
      index > 0 ? h("a.small", { href: featureHref(saeName, index - 1), "data-key": "[", title: "previous ( [ )" }, "‹ previous") : undefined,
      index < last ? h("a.small", { href: featureHref(saeName, index + 1), "data-key": "]", title: "next ( ] )" }, "next ›") : undefined,
    ),
    h("p", {}, best?.description ?? h("span.soft", {}, feature.dead === true ? "It never fires." : "Not explained yet."), best === undefined ? undefined : h("span.soft.small", {}, `  ${authorOf(best)}`)),
    h(
      "div.masonry",
      {},
      statistics(feature),
      feature.freqHist === undefined ? undefined : card("Activations, log scale", figureOf(feature.freqHist)),
      card("Promotes and suppresses", h("div.grid", {}, logits(feature.posLogits ?? [], "span.bar"), logits(feature.negLogits ?? [], "span.bar.cool"))),
      card("Like it", similar(saeName, "decoder rows alike", feature.nearest ?? []), similar(saeName, "fires together", feature.correlated ?? [])),
    ),
    examplesCard(name, feature, signal),
    card("Steer by it", steerBox({ sae: saeName, feature: index, signal })),
  );
}

function authorOf({ explanationType, explanationModel, score }: NonNullable<FeatureJson["explanations"]>[number]): string {
  const by = explanationModel === undefined || explanationModel === "" ? "local summary, no LLM" : explanationModel;
  return `${by}${score === undefined ? "" : `, score ${short(score)}`}${explanationType === undefined ? "" : ` (${explanationType})`}`;
}

function statistics(feature: FeatureJson): HTMLElement {
  const sources = Object.entries(feature.nFiringsBySource ?? {});
  const entries: readonly (readonly [string, string | undefined])[] = [
    ["fires on", `${percent(feature.fracNonzero)} of tokens, ${count(feature.nFirings)} times`],
    ["largest", short(feature.maxActivation)],
    ["mean", short(feature.meanActivation)],
    ["decoder norm", short(feature.wDecNorm)],
    ["hook", feature.hookName],
    ["by source", sources.map(([source, n]) => `${source} ${count(n)}`).join(", ")],
    ["top tokens", (feature.topTokens ?? []).slice(0, 12).map(({ strToken, n }) => `${token(strToken)} ×${count(n)}`).join("   ")],
    ...(feature.explanations ?? []).slice(1).map((one) => [one.explanationType ?? "also", one.description] as const),
  ];
  return card("Statistics", h("dl", {}, entries.filter(([, value]) => value !== undefined && value !== "").map(([label, value]) => [h("dt", {}, label), h("dd", {}, value)])));
}

function figureOf({ binEdges = [], counts = [] }: HistogramJson): SVGElement {
  return histogram(binEdges.map(num), counts.map(num), "how often it fires at each strength");
}

function logits(rows: readonly FeatureLogitJson[], bar: string): HTMLElement {
  const longest = Math.max(...rows.map(({ logit }) => Math.abs(num(logit))), 1e-9);
  return table(
    ["token", { number: "logit" }],
    rows.slice(0, 10).map(({ strToken, logit }) => {
      const length = h(bar);
      length.style.width = `${((Math.abs(num(logit)) / longest) * 4).toFixed(2)}rem`;
      return [h("code", {}, token(strToken)), [length, ` ${num(logit).toFixed(2)}`]];
    }),
  );
}

function similar(sae: string, label: string, rows: readonly SimilarFeatureJson[]): HTMLElement | undefined {
  if (rows.length === 0) return undefined;
  return table(
    [label, { number: "" }, ""],
    rows.slice(0, 8).map(({ featureIndex, value, description }) => [h("a", { href: featureHref(sae, featureIndex) }, String(featureIndex ?? 0)), num(value).toFixed(2), h("span.small.soft.clamp", { title: description }, description ?? "")]),
  );
}

function examplesCard(name: string, feature: FeatureJson, signal: AbortSignal): HTMLElement {
  const group = h("select", {}, GROUPS.map(([value, label]) => h("option", { value }, label))) as HTMLSelectElement;
  const list = h("div", { "aria-live": "polite" });
  const max = num(feature.maxActivation);
  const load = async (): Promise<void> => {
    try {
      const request = { parent: name, group: `ACTIVATION_GROUP_${group.value}`, pageSize: 20 };
      const { activations = [] } = await call<ListActivationsResponseJson>("featureIndex", "ListActivations", request, signal);
      if (!signal.aborted) replace(list, examples(activations, max));
    } catch (error) {
      if (!signal.aborted) replace(list, failure(error));
    }
  };
  group.addEventListener("change", () => void load());
  const given = (feature.examples ?? []).filter((example) => (example.group ?? "ACTIVATION_GROUP_TOP") === "ACTIVATION_GROUP_TOP");
  replace(list, examples(given, max));
  return card("Where it fires", h("div.toolbar", {}, field("Examples", group)), list);
}

function examples(rows: readonly ActivationExampleJson[], max: number): HTMLElement {
  if (rows.length === 0) return h("p.empty", {}, "No examples.");
  return h("div", {}, rows.map((row) => example(row, max)));
}

function example({ tokens, positions = [], values = [], maxActivation, qualifyingTokenIndex, dataSource }: ActivationExampleJson, max: number): HTMLElement {
  const firing = new Map(positions.map((position, at) => [position, num(values[at])]));
  const shown = (tokens?.strTokens ?? []).map((text, at) => ({ text, value: firing.get(at) ?? 0, peak: at === (qualifyingTokenIndex ?? 0) }));
  return h("div.example", {}, h("div.small.soft", {}, short(maxActivation), h("div", {}, dataSource ?? "")), warmTokens(shown, max));
}
