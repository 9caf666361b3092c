import { arrayColumn, type ClickHouse, constantColumn, fixedColumn, type NativeColumn } from "@mistral-sae/clickhouse";
import type { Tensor } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { internal } from "@mistral-sae/rpc";
import { f32View, u32View } from "@mistral-sae/tensor";
import type { IndexRecord } from "../catalogue/records.ts";
import type { Peers } from "../peers/peers.ts";
import { T } from "../store/tables.ts";
import { WorkerPool } from "../workers/worker-pool.ts";
import { STORED_TEXTS, textLists } from "./feature-rows.ts";
import type { NeighbourTask } from "./neighbour-worker.ts";
import { comparesAll, type Neighbours, normalise } from "./neighbours.ts";

/** What building works with. */
export interface WeightParts {
  readonly clickhouse: ClickHouse;
  readonly peers: Peers;
  readonly threads: number;
}

/** Promoted and suppressed tokens kept a feature, and neighbours. */
export const weightLimits = { logits: 20, neighbours: 10 } as const;

// The most that one GetDirections answers.
const DIRECTIONS_A_CALL = 128;
const FEATURES_AN_INSERT = 2_048;
const NEIGHBOURS_A_TASK = 128;

/**
 * Stores what the weights say of each feature: the length of its decoder row, its neighbours, and the tokens that it
 * promotes and suppresses. `report` is told of finished features.
 */
export async function buildWeights(parts: WeightParts, index: IndexRecord, texts: readonly string[], signal: AbortSignal, report: (features: number) => void): Promise<void> {
  const { dSae, name } = index.sae;
  const { norms, units, dIn } = await readDirections(parts.peers, name, dSae, signal);
  const neighbours = units === undefined ? [] : await compareAll(parts.threads, units, dIn, signal);
  for (let start = 0; start < dSae; start += FEATURES_AN_INSERT) {
    const end = Math.min(start + FEATURES_AN_INSERT, dSae);
    const logits = await readLogits(parts.peers, name, start, end, signal);
    const columns = [
      constantColumn("index_id", "UInt32", index.indexId, end - start),
      fixedColumn("feature_index", "UInt32", Uint32Array.from({ length: end - start }, (_, i) => start + i)),
      fixedColumn("w_dec_norm", "Float32", norms.slice(start, end)),
      ...logitColumns("pos", logits.topK, logits.posTokens, logits.posLogits, texts),
      ...logitColumns("neg", logits.topK, logits.negTokens, logits.negLogits, texts),
      ...neighbourColumns(Array.from({ length: end - start }, (_, i) => neighbours[start + i] ?? { features: [], cosines: [] })),
    ];
    await parts.clickhouse.insertColumns(T.stagedWeights, columns, { signal, deduplicationToken: `${index.indexId}/${start}` });
    report(end);
  }
}

async function readDirections(peers: Peers, sae: string, dSae: number, signal: AbortSignal): Promise<{ norms: Float32Array<ArrayBuffer>; units: Float32Array | undefined; dIn: number }> {
  const norms = new Float32Array(dSae);
  let units: Float32Array | undefined;
  let dIn = 0;
  for (let start = 0; start < dSae; start += DIRECTIONS_A_CALL) {
    const featureIndices = Array.from({ length: Math.min(DIRECTIONS_A_CALL, dSae - start) }, (_, i) => start + i);
    const { directions } = await peers.saes.getDirections({ sae, featureIndices }, { signal });
    const rows = floats(directions, featureIndices.length, "directions").slice();
    dIn = rows.length / featureIndices.length;
    norms.set(normalise(rows, dIn), start);
    if (!comparesAll(dSae, dIn)) continue;
    units ??= new Float32Array(new SharedArrayBuffer(4 * dSae * dIn));
    units.set(rows, start * dIn);
  }
  return { norms, units, dIn };
}

async function compareAll(threads: number, units: Float32Array, width: number, signal: AbortSignal): Promise<readonly Neighbours[]> {
  await using pool = new WorkerPool(new URL("./neighbour-worker.ts", import.meta.url), threads);
  const n = units.length / width;
  const starts = Array.from({ length: Math.ceil(n / NEIGHBOURS_A_TASK) }, (_, i) => i * NEIGHBOURS_A_TASK);
  const abort = new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true }));
  const all = Promise.all(
    starts.map(async (start) => {
      const task: NeighbourTask = { units, width, start, end: Math.min(start + NEIGHBOURS_A_TASK, n), topK: weightLimits.neighbours };
      return await pool.run<Neighbours[]>(task);
    }),
  );
  // Tasks that the abort overtakes are rejected when the pool ends.
  all.catch(() => undefined);
  abort.catch(() => undefined);
  return (await Promise.race([all, abort])).flat();
}

interface Logits {
  readonly topK: number;
  readonly posTokens: Uint32Array<ArrayBuffer>;
  readonly posLogits: Float32Array<ArrayBuffer>;
  readonly negTokens: Uint32Array<ArrayBuffer>;
  readonly negLogits: Float32Array<ArrayBuffer>;
}

async function readLogits(peers: Peers, sae: string, start: number, end: number, signal: AbortSignal): Promise<Logits> {
  let logits: Logits | undefined;
  let at = start;
  for await (const part of peers.saes.getFeatureLogits({ sae, featureStart: start, featureEnd: end, topK: weightLimits.logits }, { signal })) {
    const { topK } = part;
    logits ??= {
      topK,
      posTokens: new Uint32Array((end - start) * topK),
      posLogits: new Float32Array((end - start) * topK),
      negTokens: new Uint32Array((end - start) * topK),
      negLogits: new Float32Array((end - start) * topK),
    };
    const n = part.posLogits?.shape[0] ?? 0;
    if (part.featureStart !== at || topK !== logits.topK) throw internal("LOGITS_ORDER", `got logits of features from ${part.featureStart} with ${topK} tokens, wanted from ${at} with ${logits.topK}`);
    const offset = (at - start) * topK;
    logits.posTokens.set(ids(part.posTokenIds, n * topK), offset);
    logits.posLogits.set(floats(part.posLogits, n * topK, "pos_logits"), offset);
    logits.negTokens.set(ids(part.negTokenIds, n * topK), offset);
    logits.negLogits.set(floats(part.negLogits, n * topK, "neg_logits"), offset);
    at += n;
  }
  if (logits === undefined || at !== end) throw internal("LOGITS_ENDED", `got logits of features ${start} to ${at}, wanted to ${end}`);
  return logits;
}

function floats(tensor: Tensor | undefined, multiple: number, field: string): Float32Array {
  const values = f32View(tensor?.data ?? new Uint8Array());
  if (values.length === 0 || values.length % multiple !== 0) throw internal("TENSOR_SIZE_MISMATCH", `${field}: got ${values.length} values, wanted a multiple of ${multiple}`);
  return values;
}

function ids(tensor: Tensor | undefined, wanted: number): Uint32Array {
  const values = u32View(tensor?.data ?? new Uint8Array());
  if (values.length !== wanted) throw internal("TENSOR_SIZE_MISMATCH", `token ids: got ${values.length}, wanted ${wanted}`);
  return values;
}

function logitColumns(side: "pos" | "neg", topK: number, tokens: Uint32Array<ArrayBuffer>, logits: Float32Array<ArrayBuffer>, texts: readonly string[]): NativeColumn[] {
  const rows = tokens.length / topK;
  const ends = Uint32Array.from({ length: rows }, (_, row) => (row + 1) * topK);
  const words = Array.from({ length: rows }, (_, row) => Array.from(tokens.subarray(row * topK, row * topK + Math.min(topK, STORED_TEXTS)), (id) => texts[id] ?? ""));
  return [arrayColumn(`${side}_token_ids`, "UInt32", ends, tokens), arrayColumn(`${side}_logits`, "Float32", ends, logits), textLists(`${side}_tokens`, words)];
}

function neighbourColumns(rows: readonly Neighbours[]): NativeColumn[] {
  let end = 0;
  const ends = Uint32Array.from(rows, ({ features }) => (end += features.length));
  return [
    arrayColumn("nearest", "UInt32", ends, Uint32Array.from(rows.flatMap(({ features }) => features))),
    arrayColumn("nearest_cosine", "Float32", ends, Float32Array.from(rows.flatMap(({ cosines }) => cosines))),
  ];
}
