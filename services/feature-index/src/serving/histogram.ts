import type { MessageInitShape } from "@bufbuild/protobuf";
import type { HistogramSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import type { Firings } from "./firings.ts";

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
