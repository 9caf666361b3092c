import { type ClickHouse, constantColumn, fixedColumn, type NativeColumn } from "@mistral-sae/clickhouse";
import { RowReader } from "../store/row-reader.ts";
import { T } from "../store/tables.ts";
import type { PostingRange } from "./posting-lists.ts";

/** Near-misses kept a feature. */
export const MOST_NEAR_MISSES = 10;

/** A token on which a feature almost fired. */
interface NearMiss {
  readonly doc: number;
  readonly sequence: number;
  readonly token: number;
  readonly preActivation: number;
  readonly threshold: number;
}

/** Keeps the near-misses of one feature after another that came closest, one a document. */
export class NearMissRows {
  readonly #features: number[] = [];
  readonly #rows: (NearMiss & { readonly rank: number })[] = [];
  #current: NearMiss[] = [];
  #feature = -1;

  /** Rows come feature by feature, documents in order. */
  add(feature: number, miss: NearMiss): void {
    if (feature !== this.#feature) this.#settle();
    this.#feature = feature;
    const last = this.#current.at(-1);
    if (last?.doc !== miss.doc) this.#current.push(miss);
    else if (isCloser(miss, last)) this.#current[this.#current.length - 1] = miss;
  }

  /** Rows of `near_misses`. */
  columns(indexId: number): NativeColumn[] {
    this.#settle();
    const rows = this.#rows;
    return [
      constantColumn("index_id", "UInt32", indexId, rows.length),
      fixedColumn("feature_index", "UInt32", Uint32Array.from(this.#features)),
      fixedColumn("rank", "UInt16", Uint16Array.from(rows, ({ rank }) => rank)),
      fixedColumn("sequence_id", "UInt32", Uint32Array.from(rows, ({ sequence }) => sequence)),
      fixedColumn("token_index", "UInt16", Uint16Array.from(rows, ({ token }) => token)),
      fixedColumn("pre_activation", "Float32", Float32Array.from(rows, ({ preActivation }) => preActivation)),
      fixedColumn("threshold", "Float32", Float32Array.from(rows, ({ threshold }) => threshold)),
    ];
  }

  #settle(): void {
    // A sort keeps equals in their order: of them the earlier one.
    const best = this.#current.sort((a, b) => Number(isCloser(b, a)) - Number(isCloser(a, b))).slice(0, MOST_NEAR_MISSES);
    for (const [rank, miss] of best.entries()) {
      this.#features.push(this.#feature);
      this.#rows.push({ ...miss, rank });
    }
    this.#current = [];
  }
}

/** By the share of the threshold that was reached, then by the pre-activation. */
function isCloser(a: NearMiss, b: NearMiss): boolean {
  const shares = a.preActivation / a.threshold - b.preActivation / b.threshold;
  return shares > 0 || (shares === 0 && a.preActivation > b.preActivation);
}

/** Chooses the near-misses of a range of features among those that were staged, and stores them; the same range gives the same insert. */
export async function buildNearMisses(clickhouse: ClickHouse, docs: Uint32Array, { indexId, start, end }: PostingRange): Promise<void> {
  const rows = new NearMissRows();
  const reader = new RowReader((row) => {
    const feature = row.u32();
    const sequence = row.u32();
    const token = row.u16();
    const preActivation = row.f32();
    const threshold = row.f32();
    rows.add(feature, { doc: docs[sequence] as number, sequence, token, preActivation, threshold });
  });
  const sql = `SELECT feature_index, sequence_id, token_index, pre_activation, threshold FROM ${T.stagedNearMisses}
    WHERE index_id = {indexId:UInt32} AND feature_index >= {start:UInt32} AND feature_index < {end:UInt32} ORDER BY feature_index, sequence_id, token_index`;
  for await (const chunk of clickhouse.bytes(sql, "RowBinary", { indexId, start, end }, { settings: { max_threads: 1 } })) reader.push(chunk);
  reader.end();
  const columns = rows.columns(indexId);
  if ((columns[0]?.rows ?? 0) > 0) await clickhouse.insertColumns(T.nearMisses, columns, { deduplicationToken: `${indexId}/${start}-${end}` });
}
