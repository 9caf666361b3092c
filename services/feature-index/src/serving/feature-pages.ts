import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ClickHouse } from "@mistral-sae/clickhouse";
import { type ActivationExampleSchema, ActivationGroup, type FeatureSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { notFound } from "@mistral-sae/rpc";
import type { IndexRecord } from "../catalogue/records.ts";
import type { Vocabularies } from "../corpus/vocabulary.ts";
import type { Peers } from "../peers/peers.ts";
import { type Context, type ExampleBin, exampleMessage, topBin } from "../wire/example-message.ts";
import { basicFeature, fullFeature } from "../wire/feature-message.ts";
import { type Explanation, readExplanations } from "./explanations.ts";
import { type FullRow, listed } from "./feature-rows.ts";
import { KeptWindows } from "./kept-windows.ts";
import { readBasicPages } from "./packed-pages.ts";
import { type PageData, type PageKey, readPages } from "./read-pages.ts";
import { featureName } from "./resolve-index.ts";
import { Together } from "./together.ts";

/** What pages are made from. */
export interface PageParts {
  readonly clickhouse: ClickHouse;
  readonly vocabularies: Vocabularies;
  readonly peers: Peers;
}

type FeatureInit = MessageInitShape<typeof FeatureSchema>;

const NEAREST = 10;
// A page does not wait long for what it can do without.
const NEAREST_TIMEOUT_MS = 1_000;
const PAGES_A_READ = 32;
// Requests for more pages than this are read on their own, so that nobody's single page waits for them.
const PAGES_TOGETHER = 8;

/** Features as the contract says them, in the order asked for. */
export class FeaturePages {
  readonly #parts: PageParts;
  readonly #windows: KeptWindows;
  readonly #read: Together<PageKey, PageData | undefined>;

  constructor(parts: PageParts) {
    this.#parts = parts;
    this.#windows = new KeptWindows(parts.clickhouse);
    this.#read = new Together({ inFlight: 1, most: PAGES_A_READ, ask: async (keys) => await readPages(parts.clickhouse, this.#windows, keys) });
  }

  async basic(index: IndexRecord, features: readonly number[], signal: AbortSignal): Promise<FeatureInit[]> {
    const { clickhouse, vocabularies } = this.#parts;
    const [rows, explanations, texts] = await Promise.all([
      readBasicPages(clickhouse, index.indexId, features),
      readExplanations(clickhouse, index.sae.saeId, features),
      vocabularies.texts(index.corpus.vocabularyId),
    ]);
    signal.throwIfAborted();
    return features.map((feature) => basicFeature(index, listed(existing(rows.get(feature), index, feature)), texts, explanations.get(feature) ?? []));
  }

  async full(index: IndexRecord, features: readonly number[], context: Context, signal: AbortSignal): Promise<FeatureInit[]> {
    const keys = features.map((feature) => ({ index, feature }));
    const [found, texts] = await Promise.all([keys.length > PAGES_TOGETHER ? readPages(this.#parts.clickhouse, this.#windows, keys) : this.#read.get(keys), this.#parts.vocabularies.texts(index.corpus.vocabularyId)]);
    signal.throwIfAborted();
    return await Promise.all(
      features.map(async (feature, i) => {
        const data = existing(found[i], index, feature);
        const { row, examples, correlated, windows, explanations } = data.row.nearest.length > 0 ? data : await this.#withNearest(index, data, signal);
        const shown = examples.map((example) => exampleMessage(example, windows.get(example.sequence), texts, context, binOf(row, example.stratum)));
        return { ...fullFeature(index, row, texts, explanations), examples: shown satisfies MessageInitShape<typeof ActivationExampleSchema>[], correlated: correlatedMessages(correlated, explanations) };
      }),
    );
  }

  /** Where no neighbours are stored, the inference service, which holds the decoder, is asked for them. */
  async #withNearest(index: IndexRecord, data: PageData, signal: AbortSignal): Promise<PageData> {
    const { row } = data;
    try {
      const request = { sae: index.sae.name, query: { case: "featureIndex", value: row.feature } as const, topK: NEAREST };
      const { neighbours } = await this.#parts.peers.saes.nearestFeatures(request, { signal, timeoutMs: NEAREST_TIMEOUT_MS });
      const nearest = neighbours.map(({ feature }) => feature?.featureIndex ?? 0);
      const theirs = await readExplanations(this.#parts.clickhouse, index.sae.saeId, nearest);
      return { ...data, row: { ...row, nearest, nearestCosine: neighbours.map(({ cosine }) => cosine) }, explanations: new Map([...data.explanations, ...theirs]) };
    } catch {
      signal.throwIfAborted();
      return data;
    }
  }
}

function existing<Found>(found: Found | undefined, index: IndexRecord, feature: number): Found {
  if (found === undefined) throw notFound(featureName(index, feature), `is not in indexes/${index.id}`);
  return found;
}

function binOf({ strataMin, strataMax, strataN, nFirings, imported, givenStrataShare }: FullRow, stratum: number): ExampleBin {
  if (stratum === 0) return topBin;
  const bin = stratum - 1;
  const edges = { bin, min: strataMin[bin] ?? 0, max: strataMax[bin] ?? 0 };
  if (imported === 1) return { ...edges, group: ActivationGroup.QUANTILE_VALUE, contains: givenStrataShare[bin] ?? 0 };
  return { ...edges, group: ActivationGroup.QUANTILE_COUNT, contains: (strataN[bin] ?? 0) / nFirings };
}

function correlatedMessages(correlated: PageData["correlated"], explanations: ReadonlyMap<number, readonly Explanation[]>) {
  return correlated.map((other) => ({ featureIndex: other.feature, value: other.value, description: explanations.get(other.feature)?.[0]?.description ?? "" }));
}
