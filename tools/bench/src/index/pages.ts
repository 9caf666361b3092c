import { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type Feature, FeatureView } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { createClient } from "@mistral-sae/rpc";
import type { BuiltIndex } from "./built-index.ts";
import { shuffled, timeEach, timeTogether } from "./measure.ts";
import { SAE } from "./peer.ts";
import type { Reading } from "./report.ts";
import { hash } from "./synthetic.ts";

/** Features to ask for, none twice. */
export class FeatureDraw {
  readonly #alive: number[];
  readonly #heavy: number[];

  private constructor(alive: number[], heavy: number[]) {
    this.#alive = alive;
    this.#heavy = heavy;
  }

  static async of({ index, name }: BuiltIndex, seed: number): Promise<FeatureDraw> {
    const rows: { readonly feature_index: number; readonly n_firings: number }[] = [];
    for await (const { data } of index.query({ sql: `SELECT feature_index, toUInt32(n_firings) AS n_firings FROM features WHERE index_name = '${name}' AND n_firings >= 50 ORDER BY n_firings DESC` })) {
      for (const line of Buffer.from(data).toString().trim().split("\n")) if (line !== "") rows.push(JSON.parse(line) as (typeof rows)[number]);
    }
    const features = rows.map(({ feature_index }) => feature_index);
    const most = Math.min(2_000, features.length >> 1);
    const mixed = (some: readonly number[]) => shuffled(some, (i) => hash(seed, i));
    return new FeatureDraw(mixed(features.slice(most)), mixed(features.slice(0, most)));
  }

  /** Any of those that fire. */
  light(n: number): number[] {
    return this.#alive.splice(0, n);
  }

  /** Of the 2,000 that fire most. */
  heavy(n: number): number[] {
    return this.#heavy.splice(0, n);
  }
}

const LOGITS = 20;
const CLIENTS = 8;

/** Full pages: first calls one after the other, then from eight clients. */
export async function benchPages(built: BuiltIndex, draw: FeatureDraw, n: number): Promise<Reading[]> {
  const full = async (feature: number, index = built.index) => {
    const { feature: page } = await index.getFeature({ name: `${SAE}/features/${feature}`, view: FeatureView.FULL });
    requireWhole(page);
  };
  for (const feature of draw.light(60)) await full(feature);
  const light = await timeEach("light features", draw.light(n), full);
  const heavy = await timeEach("heavy features", draw.heavy(n >> 1), full);
  const clients = Array.from({ length: CLIENTS }, () => createClient(FeatureIndexService, built.service.address));
  const some = [...draw.light(3 * n), ...draw.heavy(n)];
  await timeTogether("warm-up", draw.light(n), CLIENTS, async (feature, client) => await full(feature, clients[client]));
  const together = await timeTogether("", some, CLIENTS, async (feature, client) => await full(feature, clients[client]));
  return [
    { name: "full page, first call, p50", value: light.p50, unit: "ms" },
    { name: "full page, first call, p95", value: light.p95, unit: "ms", atMost: 15 },
    { name: "full page of a heavy feature, first call, p50", value: heavy.p50, unit: "ms" },
    { name: "full page of a heavy feature, first call, p95", value: heavy.p95, unit: "ms", atMost: 15 },
    { name: `full pages, ${CLIENTS} clients`, value: together.perSecond, unit: "pages/s", atLeast: 300 },
    { name: `full pages, ${CLIENTS} clients, p95`, value: together.p95, unit: "ms" },
  ];
}

/** Whether a page has all its parts. */
function requireWhole(page: Feature | undefined): void {
  const has = (what: string, found: number, wanted: number) => {
    if (found < wanted) throw new Error(`the page of ${page?.name ?? "a feature"} has ${found} ${what}, wanted at least ${wanted}`);
  };
  has("promoted tokens", page?.posLogits.length ?? 0, LOGITS);
  has("neighbours", page?.nearest.length ?? 0, 10);
  has("examples", page?.examples.length ?? 0, 25);
  has("bins", page?.freqHist?.counts.length ?? 0, 2);
  // An example's context is cut where its window begins or ends.
  has("tokens of context", Math.max(...(page?.examples ?? []).map(({ tokens }) => tokens?.strTokens.length ?? 0)), 64);
}
