import type { ClickHouse } from "@mistral-sae/clickhouse";
import { failedPrecondition } from "@mistral-sae/rpc";
import type { IndexRecord } from "../catalogue/records.ts";
import { T } from "../store/tables.ts";
import type { WindowFiring } from "../wire/example-message.ts";

/** A token on which a feature almost fired: its pre-activation in the place of an activation, and what it fell short of. */
export interface NearMiss {
  readonly firing: WindowFiring;
  readonly threshold: number;
}

/** @throws FAILED_PRECONDITION when an index keeps no near-misses of any feature. */
export async function requireNearMisses(clickhouse: ClickHouse, index: IndexRecord, signal: AbortSignal): Promise<void> {
  const { kept } = await clickhouse.row<{ kept: number }>(`SELECT count() AS kept FROM (SELECT 1 FROM ${T.nearMisses} WHERE index_id = {indexId:UInt32} LIMIT 1)`, { indexId: index.indexId }, { signal });
  if (kept > 0) return;
  throw failedPrecondition(
    "NO_NEAR_MISSES",
    `indexes/${index.id} keeps no near-misses: it was built before they were kept, or from codes made elsewhere, or ${index.sae.name} is a standard SAE, of which each pre-activation above 0 fires; index the corpus again with a topk or jumprelu SAE`,
    { index: `indexes/${index.id}` },
  );
}
