import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { HistogramSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { failedPrecondition } from "@mistral-sae/rpc";
import type { IndexRecord } from "../catalogue/records.ts";
import { readFullRows } from "../serving/feature-rows.ts";
import { fullFeature } from "../wire/feature-message.ts";

/**
 * The histogram that a dashboard gives of a feature; `nBins` 0 for its own number of bins.
 * @throws RpcError FAILED_PRECONDITION EXAMPLES_ONLY where it gives none of this kind: there are no activations to count anew.
 */
export async function givenHistogram(clickhouse: ClickHouse, index: IndexRecord, feature: number, nBins: number, log: boolean): Promise<MessageInitShape<typeof HistogramSchema>> {
  const row = (await readFullRows(clickhouse, index.indexId, [feature])).get(feature);
  const histogram = row === undefined ? undefined : fullFeature(index, row, [], new Map()).linearHist;
  const bins = histogram?.counts?.length ?? 0;
  if (histogram === undefined || log || (nBins !== 0 && nBins !== bins)) {
    const has = histogram === undefined ? "no histogram of counts" : `one of ${bins} even bins`;
    throw failedPrecondition("EXAMPLES_ONLY", `indexes/${index.id} was imported from ${index.importedFrom} and has ${has} for feature ${feature}; ${nBins} ${log ? "log-spaced" : "even"} bins cannot be counted from examples`, { index: `indexes/${index.id}` });
  }
  return histogram;
}
