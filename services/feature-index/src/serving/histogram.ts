import type { MessageInitShape } from "@bufbuild/protobuf";
import type { HistogramSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import type { ClickHouse } from "@mistral-sae/clickhouse";
import { featureLimits } from "../building/feature-pass.ts";
import { smallRows } from "../store/small-rows.ts";
import { T } from "../store/tables.ts";
import { linearHistogramMessage } from "../wire/feature-message.ts";
import type { Firings } from "./firings.ts";

/** The even histogram that every feature has; undefined for another number of bins. */
export async function storedHistogram(clickhouse: ClickHouse, indexId: number, feature: number, nBins: number, log: boolean): Promise<MessageInitShape<typeof HistogramSchema> | undefined> {
  if (log || nBins !== featureLimits.linearBins) return undefined;
  const from = `FROM ${T.features} WHERE index_id = {indexId:UInt32} AND feature_index = {feature:UInt32} AND n_firings > 0`;
  const [row] = await smallRows<{ readonly max: number; readonly counts: number[] }>(clickhouse, { max: ["max_activation", (cursor) => cursor.f32()], counts: ["linear_counts", (cursor) => cursor.u32s()] }, from, { indexId, feature });
  return row === undefined ? undefined : linearHistogramMessage(row.max, row.counts);
}

/** Counts over [0, largest] in even bins, or over [smallest, largest] in bins of even ratio. No bins where nothing fires. */
export async function histogramOf(firings: Firings, nBins: number, log: boolean): Promise<MessageInitShape<typeof HistogramSchema>> {
  const { n, min, max } = await firings.extent();
  if (n === 0) return { binEdges: [], counts: [] };
  const low = log ? min : 0;
  // One value alone has no range to divide.
  if (low === max) return { binEdges: [low, max], counts: [BigInt(n)] };
  const edge = (i: number) => (i === nBins ? max : log ? low * (max / low) ** (i / nBins) : (max * i) / nBins);
  const counts = await firings.counts(low, max, nBins, log);
  return { binEdges: Array.from({ length: nBins + 1 }, (_, i) => edge(i)), counts: counts.map(BigInt) };
}
