import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ClickHouse } from "@mistral-sae/clickhouse";
import { type ActivationExampleSchema, ActivationGroup, type FeatureSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { notFound } from "@mistral-sae/rpc";
import type { IndexRecord } from "../catalogue/records.ts";
import type { Vocabularies } from "../corpus/vocabulary.ts";
import type { Peers } from "../peers/peers.ts";
import { ACTS_F32 } from "../store/activations-sql.ts";
import { T } from "../store/tables.ts";
import { type Context, type ExampleBin, exampleMessage, topBin } from "../wire/example-message.ts";
import { basicFeature, fullFeature } from "../wire/feature-message.ts";
import { ranked } from "./coactivations.ts";
import { type Explanation, readExplanations } from "./explanations.ts";
import { type FullRow, readBasicRows, readFullRows } from "./feature-rows.ts";
import { pointRead } from "./point-read.ts";
import { featureName } from "./resolve-index.ts";
import { readWindows } from "./windows.ts";

/** What pages are made from. */
export interface PageParts {
  readonly clickhouse: ClickHouse;
  readonly vocabularies: Vocabularies;
  readonly peers: Peers;
}

type FeatureInit = MessageInitShape<typeof FeatureSchema>;

interface StoredExample {
  readonly feature: number;
  readonly stratum: number;
  readonly sequence: number;
  readonly token: number;
  readonly pos: readonly number[];
  readonly acts: readonly number[];
}

const CORRELATED = 10;
const NEAREST = 10;
// A page does not wait long for what it can do without.
const NEAREST_TIMEOUT_MS = 1_000;

/** Features as the contract says them, in the order asked for. */
export class FeaturePages {
  readonly #parts: PageParts;

  constructor(parts: PageParts) {
    this.#parts = parts;
  }

  async basic(index: IndexRecord, features: readonly number[], signal: AbortSignal): Promise<FeatureInit[]> {
    const { clickhouse, vocabularies } = this.#parts;
    const [rows, explanations, texts] = await Promise.all([
      readBasicRows(clickhouse, index.indexId, features, signal),
      readExplanations(clickhouse, index.sae.saeId, features, signal),
      vocabularies.texts(index.corpus.vocabularyId),
    ]);
    return features.map((feature) => basicFeature(index, existing(rows, index, feature), texts, explanations.get(feature) ?? []));
  }

  async full(index: IndexRecord, features: readonly number[], context: Context, signal: AbortSignal): Promise<FeatureInit[]> {
    const { clickhouse, vocabularies } = this.#parts;
    const [rows, examples, texts] = await Promise.all([
      readFullRows(clickhouse, index.indexId, features, signal),
      this.#examples(index.indexId, features, signal),
      vocabularies.texts(index.corpus.vocabularyId),
    ]);
    const complete = await Promise.all(features.map((feature) => this.#withNearest(index, existing(rows, index, feature), signal)));
    const mentioned = new Set(complete.flatMap((row) => [row.feature, ...row.nearest, ...correlatedOf(row).map((other) => other.feature)]));
    const [explanations, windows] = await Promise.all([
      readExplanations(clickhouse, index.sae.saeId, [...mentioned], signal),
      readWindows(clickhouse, index.corpus.corpusId, examples.map(({ sequence }) => sequence), signal),
    ]);
    const examplesOf = Map.groupBy(examples, ({ feature }) => feature);
    return complete.map((row) => {
      const shown = (examplesOf.get(row.feature) ?? []).map((example) => exampleMessage(example, windows.get(example.sequence), texts, context, binOf(row, example.stratum)));
      return { ...fullFeature(index, row, texts, explanations), examples: shown satisfies MessageInitShape<typeof ActivationExampleSchema>[], correlated: correlatedMessages(row, explanations) };
    });
  }

  async #examples(indexId: number, features: readonly number[], signal: AbortSignal): Promise<StoredExample[]> {
    return await this.#parts.clickhouse.rows<StoredExample>(
      `SELECT feature_index AS feature, stratum, sequence_id AS sequence, token_index AS token, pos, ${ACTS_F32} AS acts FROM ${T.featureExamples}
       WHERE index_id = {indexId:UInt32} AND feature_index IN {features:Array(UInt32)} ORDER BY feature_index, stratum, rank`,
      { indexId, features },
      { signal, settings: pointRead },
    );
  }

  /** Large dictionaries have no neighbours stored: the inference service, which holds the decoder, is asked for them. */
  async #withNearest(index: IndexRecord, row: FullRow, signal: AbortSignal): Promise<FullRow> {
    if (row.nearest.length > 0) return row;
    try {
      const request = { sae: index.sae.name, query: { case: "featureIndex", value: row.feature } as const, topK: NEAREST };
      const { neighbours } = await this.#parts.peers.saes.nearestFeatures(request, { signal, timeoutMs: NEAREST_TIMEOUT_MS });
      return { ...row, nearest: neighbours.map(({ feature }) => feature?.featureIndex ?? 0), nearestCosine: neighbours.map(({ cosine }) => cosine) };
    } catch {
      signal.throwIfAborted();
      return row;
    }
  }
}

function existing<Row>(rows: ReadonlyMap<number, Row>, index: IndexRecord, feature: number): Row {
  const row = rows.get(feature);
  if (row === undefined) throw notFound(featureName(index, feature), `is not in indexes/${index.id}`);
  return row;
}

function binOf({ strataMin, strataMax, strataN, nFirings, imported, givenStrataShare }: FullRow, stratum: number): ExampleBin {
  if (stratum === 0) return topBin;
  const bin = stratum - 1;
  const edges = { bin, min: strataMin[bin] ?? 0, max: strataMax[bin] ?? 0 };
  if (imported === 1) return { ...edges, group: ActivationGroup.QUANTILE_VALUE, contains: givenStrataShare[bin] ?? 0 };
  return { ...edges, group: ActivationGroup.QUANTILE_COUNT, contains: (strataN[bin] ?? 0) / nFirings };
}

function correlatedOf(row: FullRow): { readonly feature: number; readonly value: number }[] {
  return ranked(row, "jaccard").slice(0, CORRELATED);
}

function correlatedMessages(row: FullRow, explanations: ReadonlyMap<number, readonly Explanation[]>) {
  return correlatedOf(row).map((other) => ({ featureIndex: other.feature, value: other.value, description: explanations.get(other.feature)?.[0]?.description ?? "" }));
}
