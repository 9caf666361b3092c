import { parentPort, workerData } from "node:worker_threads";
import { arrayColumn, ClickHouse, constantColumn, fixedColumn, type Login } from "@mistral-sae/clickhouse";
import { type RowCursor, RowReader } from "../store/row-reader.ts";
import { T } from "../store/tables.ts";
import { serveTasks } from "../workers/worker-side.ts";
import { ownSpace, type Related } from "./own-space.ts";
import { type FeatureTokens, tokenMatrix } from "./token-matrix.ts";

/** What the thread is started with. */
export interface SpaceWorkerData {
  readonly url: string;
  readonly login: Login;
}

/** An index whose space is computed and stored. */
export interface SpaceTask {
  readonly indexId: number;
  readonly dSae: number;
}

/** What is noted of it. */
export interface SpaceResult {
  readonly dimension: number;
  readonly singularValues: readonly number[];
}

const ROWS_AN_INSERT = 8_192;
const { url, login } = workerData as SpaceWorkerData;
const clickhouse = new ClickHouse({ url, login, maxConnections: 2 });

serveTasks(parentPort, async ({ indexId, dSae }: SpaceTask) => {
  const { features, related } = await readFeatures(indexId, dSae);
  const matrix = tokenMatrix(features, await readCounts(indexId));
  const space = ownSpace(matrix, (feature) => related[feature] ?? none);
  await store(T.tokenVectors, "token_id", indexId, matrix.tokens, space.tokens, space.dimension);
  await store(T.featureVectors, "feature_index", indexId, Uint32Array.from({ length: dSae }, (_, i) => i), space.features, space.dimension);
  const result: SpaceResult = { dimension: space.dimension, singularValues: [...space.singularValues] };
  return { result };
});

/** Typed arrays: as lists of numbers they would take twice the memory. */
function ids(row: RowCursor): Uint32Array {
  return new Uint32Array(copy(row));
}

function copy(row: RowCursor): ArrayBuffer {
  return Uint8Array.from(row.array(4)).buffer;
}

const none: Related = { features: [], cosines: [] };
const silent: FeatureTokens = { nFirings: 1, fired: new Uint32Array(), firedN: new Uint32Array(), promoted: new Uint32Array(), logits: new Float32Array() };

async function readFeatures(indexId: number, dSae: number): Promise<{ features: FeatureTokens[]; related: Related[] }> {
  const features = Array.from({ length: dSae }, () => silent);
  const related: Related[] = [];
  const sql = `SELECT feature_index, n_firings_sampled, top_token_ids, top_token_n, pos_token_ids, pos_logits, nearest, nearest_cosine FROM ${T.features} WHERE index_id = {indexId:UInt32}`;
  const reader = new RowReader((row) => {
    const [feature, nFirings, fired, firedN, promoted, logits, nearest, cosines] = [row.u32(), row.u64(), ids(row), ids(row), ids(row), new Float32Array(copy(row)), row.u32s(), row.f32s()];
    features[feature] = { nFirings: Math.max(1, nFirings), fired, firedN, promoted, logits };
    related[feature] = { features: nearest, cosines };
  });
  for await (const chunk of clickhouse.bytes(sql, "RowBinary", { indexId })) reader.push(chunk);
  reader.end();
  return { features, related };
}

async function readCounts(indexId: number): Promise<ReadonlyMap<number, number>> {
  const rows = await clickhouse.rows<{ token: number; n: number }>(`SELECT token_id AS token, n FROM ${T.tokenCounts} WHERE index_id = {indexId:UInt32}`, { indexId });
  return new Map(rows.map(({ token, n }) => [token, n]));
}

async function store(table: string, key: string, indexId: number, ids: Uint32Array, vectors: Float32Array, dimension: number): Promise<void> {
  if (dimension === 0) return;
  for (let start = 0; start < ids.length; start += ROWS_AN_INSERT) {
    const part = ids.slice(start, start + ROWS_AN_INSERT);
    const ends = Uint32Array.from(part, (_, i) => (i + 1) * dimension);
    await clickhouse.insertColumns(table, [
      constantColumn("index_id", "UInt32", indexId, part.length),
      fixedColumn(key, "UInt32", part),
      arrayColumn("vector", "Float32", ends, vectors.slice(start * dimension, (start + part.length) * dimension)),
    ]);
  }
}
