import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClickHouse } from "@mistral-sae/clickhouse";
import { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type Operation, OperationService, OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { featureIndexDefaults, openFeatureIndex } from "@mistral-sae/feature-index";
import { createClient, startServer } from "@mistral-sae/rpc";
import { fillMadeUp, generator, madeUp, madeUpDefaults, type MadeUpSizes, madeUpWord } from "./meaning-data.ts";
import type { Reading } from "./report.ts";

/** What is measured. */
export interface MeaningOptions extends MadeUpSizes {
  /** Searches of each kind. */
  readonly searches: number;
  readonly threads: number;
}

/** Milliseconds of a kind of search. */
export interface MeaningTimes {
  /** Weight of words; null leaves it to the service, which takes half. */
  readonly textWeight: number | null;
  readonly p50: number;
  readonly p95: number;
  /** The first one, which reads what is searched into memory. */
  readonly first: number;
}

/** What was found. */
export interface MeaningReport {
  readonly features: number;
  /** Computing the index' own vectors and those of its explanations. */
  readonly embedSeconds: number;
  readonly times: readonly MeaningTimes[];
  /** Of this process, in which the service runs, at the end. */
  readonly rssMib: number;
  /** Bytes on disk by table. */
  readonly tableBytes: Readonly<Record<string, number>>;
}

export const meaningDefaults: MeaningOptions = { ...madeUpDefaults, searches: 200, threads: 2 };

/** SearchExplanations of an index with an explanation a feature, through gRPC; every search is for two other words. */
export async function measureMeaning(options: Partial<MeaningOptions> = {}): Promise<MeaningReport> {
  const { searches, threads, ...sizes } = { ...meaningDefaults, ...options };
  const data = mkdtempSync(join(tmpdir(), "meaning-bench-"));
  mkdirSync(data, { recursive: true });
  // There is no model here: nothing that is measured asks it.
  const service = await openFeatureIndex({ ...featureIndexDefaults, data, threads, inference: "127.0.0.1:1" });
  const server = await startServer({ listen: "127.0.0.1:0", services: service.services, reflection: false });
  const clickhouse = new ClickHouse({ url: service.server.url, login: service.server.owner });
  try {
    await fillMadeUp(clickhouse, join(data, "catalogue.sqlite"), sizes);
    const index = createClient(FeatureIndexService, server.address);
    const operations = createClient(OperationService, server.address);
    const began = performance.now();
    const { operation } = await index.embedExplanations({ sae: madeUp.sae });
    let last: Operation | undefined;
    for await (const { operation: now } of operations.watchOperation({ name: operation?.name ?? "" })) last = now;
    if (last?.state !== OperationState.SUCCEEDED) throw new Error(`vectors could not be computed: ${last?.result.case === "error" ? last.result.value.message : "the operation has no end"}`);
    const embedSeconds = (performance.now() - began) / 1000;
    const random = generator(11);
    const times: MeaningTimes[] = [];
    for (const textWeight of [null, 0, 1]) {
      const taken: number[] = [];
      for (let i = 0; i <= searches; i++) {
        const query = `${madeUpWord(Math.floor(random() * sizes.tokens))} ${madeUpWord(Math.floor(sizes.tokens ** random()))}`;
        const start = performance.now();
        const { hits } = await index.searchExplanations({ parent: madeUp.sae, query, ...(textWeight === null ? {} : { textWeight }) });
        taken.push(performance.now() - start);
        if (hits.length === 0) throw new Error(`"${query}" found nothing`);
      }
      const [first = 0, ...later] = taken;
      const sorted = later.toSorted((a, b) => a - b);
      const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
      times.push({ textWeight, p50: at(0.5), p95: at(0.95), first });
    }
    const rows = await clickhouse.rows<{ table: string; bytes: number }>("SELECT table, sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND database = 'mistral_sae' GROUP BY table ORDER BY bytes DESC");
    return { features: sizes.features, embedSeconds, times, rssMib: process.memoryUsage().rss / 2 ** 20, tableBytes: Object.fromEntries(rows.map(({ table, bytes }) => [table, bytes])) };
  } finally {
    await clickhouse.close();
    await server.close(1_000);
    await service.close();
    rmSync(data, { recursive: true, force: true });
  }
}

/** A report as readings. */
export function meaningReadings({ features, embedSeconds, times }: MeaningReport): Reading[] {
  return [
    { name: `vectors of ${features.toLocaleString("en-US")} explanations`, value: embedSeconds, unit: "s" },
    ...times.flatMap(({ textWeight, p50, p95, first }): Reading[] => {
      const how = textWeight === null ? "words and meaning" : textWeight === 0 ? "meaning alone" : "words alone";
      return [
        { name: `search by ${how}, first`, value: first, unit: "ms" },
        { name: `search by ${how}, p50`, value: p50, unit: "ms" },
        { name: `search by ${how}, p95`, value: p95, unit: "ms", atMost: 50 },
      ];
    }),
  ];
}
