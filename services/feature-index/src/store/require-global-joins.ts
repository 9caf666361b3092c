import type { ClickHouse } from "@mistral-sae/clickhouse";

/**
 * In a cluster, views join tables of many shards, which a server refuses unless its user's profile says how. The user of the views may
 * set nothing. @throws Error that says what the profile lacks.
 */
export async function requireGlobalJoins(analyst: ClickHouse): Promise<void> {
  if (analyst.cluster === undefined) return;
  const { mode } = await analyst.row<{ mode: string }>("SELECT getSetting('distributed_product_mode') AS mode");
  if (mode !== "global") throw new Error(`the user of the views has distributed_product_mode ${mode}, wanted global: put <distributed_product_mode>global</distributed_product_mode> into its profile on each server of cluster ${analyst.cluster}`);
}
