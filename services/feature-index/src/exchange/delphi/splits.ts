import type { ClickHouse } from "@mistral-sae/clickhouse";
import { T } from "../../store/tables.ts";

/** Features of one file, with how many activations it holds. */
export interface Split {
  readonly start: number;
  /** One past the last. */
  readonly end: number;
  readonly n: number;
  /** Ranges of features within it, each with few enough activations to be held in memory, or one feature. */
  readonly pieces: readonly { readonly start: number; readonly end: number }[];
}

/** Delphi's own number of files. */
export const N_SPLITS = 5;
/** Activations held in memory at a time, about. */
const PIECE = 2_000_000;

/** The even splits of a width, as Delphi makes them: bounds of np.linspace, truncated. */
export function splitBounds(width: number, n = N_SPLITS): { readonly start: number; readonly end: number }[] {
  const splits = Math.min(n, width);
  const bounds = Array.from({ length: splits + 1 }, (_, at) => Math.trunc((width * at) / splits));
  return bounds.slice(1).map((end, at) => ({ start: bounds[at] ?? 0, end }));
}

/** The splits of an index with their counts. */
export async function planSplits(clickhouse: ClickHouse, indexId: number, dSae: number): Promise<Split[]> {
  const rows = await clickhouse.rows<{ feature: number; n: number }>(`SELECT feature_index AS feature, sum(n) AS n FROM ${T.postings} WHERE index_id = {indexId:UInt32} GROUP BY feature ORDER BY feature`, { indexId });
  return splitBounds(dSae).map(({ start, end }) => {
    const own = rows.filter(({ feature }) => feature >= start && feature < end);
    const pieces: { start: number; end: number }[] = [];
    let held = Infinity;
    for (const { feature, n } of own) {
      const last = pieces.at(-1);
      if (last === undefined || held + n > PIECE) {
        pieces.push({ start: feature, end: feature + 1 });
        held = n;
      } else {
        last.end = feature + 1;
        held += n;
      }
    }
    return { start, end, n: own.reduce((sum, { n }) => sum + n, 0), pieces };
  });
}
