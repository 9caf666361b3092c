import { arrayColumn, type ClickHouse, constantColumn, fixedColumn, type NativeColumn } from "@mistral-sae/clickhouse";
import type { Tensor } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { SaeSide } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import type { DurableState } from "@mistral-sae/jobs";
import { internal } from "@mistral-sae/rpc";
import { f32View, u32View } from "@mistral-sae/tensor";
import type { IndexRecord } from "../catalogue/records.ts";
import type { Peers } from "../peers/peers.ts";
import { T } from "../store/tables.ts";
import { STORED_TEXTS, textLists } from "./feature-rows.ts";

/** What building works with. */
export interface WeightParts {
  readonly clickhouse: ClickHouse;
  readonly peers: Peers;
}

/** How far it is, and where that is noted. */
export interface WeightProgress {
  readonly signal: AbortSignal;
  readonly state: DurableState;
  /** Told of finished features. */
  readonly report: (features: number) => void;
}

/** Promoted and suppressed tokens kept a feature, and neighbours on either side. */
export const weightLimits = { logits: 20, neighbours: 10 } as const;

const FEATURES_AN_INSERT = 2_048;

/**
 * Stores what the weights say of each feature: the length of its decoder row, its neighbours by decoder and by encoder
 * row, and the tokens that it promotes and suppresses. The inference service compares all rows: that costs as much as
 * encoding d_sae tokens, once a side. Finished runs of features are noted, so that an interrupted build goes on after them.
 */
export async function buildWeights({ clickhouse, peers }: WeightParts, index: IndexRecord, texts: readonly string[], { signal, state, report }: WeightProgress): Promise<void> {
  const { dSae, name } = index.sae;
  for (let start = (state.get("build:weights-to") as number | undefined) ?? 0; start < dSae; start += FEATURES_AN_INSERT) {
    const end = Math.min(start + FEATURES_AN_INSERT, dSae);
    const decoder = await readNeighbours(peers, name, SaeSide.DECODER, start, end, signal);
    const encoder = await readNeighbours(peers, name, SaeSide.ENCODER, start, end, signal);
    const logits = await readLogits(peers, name, start, end, signal);
    const columns = [
      constantColumn("index_id", "UInt32", index.indexId, end - start),
      fixedColumn("feature_index", "UInt32", Uint32Array.from({ length: end - start }, (_, i) => start + i)),
      fixedColumn("w_dec_norm", "Float32", decoder.norms),
      ...logitColumns("pos", logits.topK, logits.posTokens, logits.posLogits, texts),
      ...logitColumns("neg", logits.topK, logits.negTokens, logits.negLogits, texts),
      ...neighbourColumns("nearest", decoder),
      ...neighbourColumns("encoder_nearest", encoder),
    ];
    await clickhouse.insertColumns(T.stagedWeights, columns, { signal, deduplicationToken: `${index.indexId}/${start}` });
    state.set("build:weights-to", end);
    report(end);
  }
}

/** Neighbours of a run of features, and the lengths of their own rows. */
interface Neighbours {
  readonly norms: Float32Array<ArrayBuffer>;
  /** Those of each feature, one feature after another, most alike first. */
  readonly ends: Uint32Array<ArrayBuffer>;
  readonly features: number[];
  readonly cosines: number[];
}

async function readNeighbours(peers: Peers, sae: string, side: SaeSide, start: number, end: number, signal: AbortSignal): Promise<Neighbours> {
  const found: Neighbours = { norms: new Float32Array(end - start), ends: new Uint32Array(end - start), features: [], cosines: [] };
  let at = start;
  for await (const part of peers.saes.getFeatureNeighbours({ sae, side, featureStart: start, featureEnd: end, topK: weightLimits.neighbours }, { signal })) {
    const norms = floats(part.norms, 1, "norms");
    const { topK } = part;
    if (part.featureStart !== at || at + norms.length > end) throw internal("NEIGHBOURS_ORDER", `got ${norms.length} neighbours of features from ${part.featureStart}, wanted from ${at} to at most ${end}`);
    found.norms.set(norms, at - start);
    const features = ids(part.featureIndices, norms.length * topK);
    const cosines = topK === 0 ? new Float32Array() : floats(part.cosines, norms.length * topK, "cosines");
    for (let row = 0; row < norms.length; row++) {
      for (let i = row * topK; i < (row + 1) * topK; i++) {
        if (Number.isNaN(cosines[i])) break;
        found.features.push(features[i] as number);
        found.cosines.push(cosines[i] as number);
      }
      found.ends[at++ - start] = found.features.length;
    }
  }
  if (at !== end) throw internal("NEIGHBOURS_ENDED", `got neighbours of features ${start} to ${at}, wanted to ${end}`);
  return found;
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

function neighbourColumns(name: string, { ends, features, cosines }: Neighbours): NativeColumn[] {
  return [arrayColumn(name, "UInt32", ends, Uint32Array.from(features)), arrayColumn(`${name}_cosine`, "Float32", ends, Float32Array.from(cosines))];
}
