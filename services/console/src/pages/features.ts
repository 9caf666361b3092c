import type { FeatureJson } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import type { ListFeaturesResponseJson, SearchExplanationsResponseJson } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { call } from "../api.ts";
import { type Child, failure, field, h, replace, table } from "../dom.ts";
import { count, idOf, num, percent, short, token } from "../format.ts";
import { currentSae, featureHref, steerHref } from "../saes.ts";

const PAGE_SIZE = 50;
const ORDERS: readonly (readonly [string, string])[] = [
  ["max_activation desc", "largest activation"],
  ["frac_nonzero desc", "densest"],
  ["frac_nonzero", "rarest"],
  ["mean_activation desc", "mean activation"],
  ["feature_index", "index"],
];

interface Found {
  readonly features: readonly FeatureJson[];
  readonly nextPageToken: string;
  readonly total: number | undefined;
}

/** Features by order and filter, or by words. */
export async function featuresPage(root: HTMLElement, _path: readonly string[], parameters: URLSearchParams, signal: AbortSignal): Promise<void> {
  const sae = (await currentSae(parameters, signal)).name ?? "";
  const words = h("input", { type: "search", placeholder: "words in explanations and top tokens", "data-key": "/", value: parameters.get("q") ?? "" }) as HTMLInputElement;
  const order = h("select", {}, ORDERS.map(([value, label]) => h("option", { value }, label))) as HTMLSelectElement;
  const dense = h("input", { type: "checkbox", checked: true }) as HTMLInputElement;
  const jump = h("input", { type: "number", min: 0, placeholder: "index", "aria-label": "Go to feature" }) as HTMLInputElement;
  const list = h("div", { "aria-live": "polite" });
  let asked = new AbortController();

  const load = async (): Promise<void> => {
    asked.abort();
    asked = new AbortController();
    const either = AbortSignal.any([signal, asked.signal]);
    replace(list, h("p.soft", {}, "Loading…"));
    try {
      await showPages(list, sae, (pageToken) => find(sae, words.value.trim(), order.value, dense.checked, pageToken, either), either);
    } catch (error) {
      if (!either.aborted) replace(list, failure(error));
    }
  };
  let timer: ReturnType<typeof setTimeout> | undefined;
  words.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => void load(), 250);
  });
  order.addEventListener("change", () => void load());
  dense.addEventListener("change", () => void load());
  const go = (event: Event): void => {
    event.preventDefault();
    if (jump.value !== "") location.hash = featureHref(sae, Number(jump.value));
  };
  replace(
    root,
    h("h1", {}, "Features", h("span.soft.small", {}, idOf(sae))),
    h(
      "form.toolbar",
      { onsubmit: go },
      field("Search  ( / )", words, true),
      field("Order", order),
      field("Go to", jump),
      h("label.check", {}, dense, "hide those on more than 10% of tokens"),
    ),
    list,
  );
  await load();
}

async function find(sae: string, words: string, orderBy: string, hideDense: boolean, pageToken: string, signal: AbortSignal): Promise<Found> {
  if (words !== "") {
    const request = { parent: sae, query: words, pageSize: PAGE_SIZE, pageToken };
    const { hits = [], nextPageToken = "" } = await call<SearchExplanationsResponseJson>("featureIndex", "SearchExplanations", request, signal);
    return { features: hits.flatMap(({ feature }) => (feature === undefined ? [] : [feature])), nextPageToken, total: undefined };
  }
  const filter = hideDense ? "n_firings > 0 AND frac_nonzero < 0.1" : "n_firings > 0";
  const answer = await call<ListFeaturesResponseJson>("featureIndex", "ListFeatures", { parent: sae, orderBy, filter, pageSize: PAGE_SIZE, pageToken }, signal);
  return { features: answer.features ?? [], nextPageToken: answer.nextPageToken ?? "", total: num(answer.totalSize) };
}

async function showPages(list: HTMLElement, sae: string, next: (pageToken: string) => Promise<Found>, signal: AbortSignal): Promise<void> {
  const features: FeatureJson[] = [];
  const more = async (pageToken: string): Promise<void> => {
    const found = await next(pageToken);
    if (signal.aborted) return;
    features.push(...found.features);
    const again = found.nextPageToken === "" ? undefined : h("button", { onclick: () => void more(found.nextPageToken) }, "Show more");
    const told = found.total === undefined ? `${count(features.length)} found` : `${count(features.length)} of ${count(found.total)}`;
    replace(list, features.length === 0 ? h("p.empty", {}, "No feature matches.") : [featureTable(sae, features), h("p.soft.small", {}, told), again]);
  };
  await more("");
}

function featureTable(sae: string, features: readonly FeatureJson[]): HTMLElement {
  const densest = Math.max(...features.map(({ fracNonzero }) => num(fracNonzero)), 1e-9);
  const rows = features.map((feature): readonly Child[] => {
    const bar = h("span.bar");
    bar.style.width = `${((num(feature.fracNonzero) / densest) * 4).toFixed(2)}rem`;
    return [
      h("a", { href: featureHref(sae, feature.featureIndex) }, String(feature.featureIndex ?? 0)),
      [h("div", {}, feature.explanations?.[0]?.description ?? h("span.soft", {}, "not explained")), h("div.soft.small.mono", {}, tokensOf(feature))],
      [bar, ` ${percent(feature.fracNonzero)}`],
      short(feature.maxActivation),
      short(feature.meanActivation),
      h("a", { href: steerHref(sae, feature.featureIndex) }, "steer"),
    ];
  });
  return h("div.card", {}, table([{ number: "feature" }, "says, and promotes", "density", { number: "max" }, { number: "mean" }, ""], rows));
}

function tokensOf(feature: FeatureJson): string {
  const fires = (feature.topTokens ?? []).slice(0, 5).map(({ strToken }) => token(strToken));
  const promotes = (feature.posLogits ?? []).slice(0, 5).map(({ strToken }) => token(strToken));
  return [fires.length > 0 ? `on ${fires.join(" ")}` : "", promotes.length > 0 ? `→ ${promotes.join(" ")}` : ""].filter((part) => part !== "").join("   ");
}
