import { parentPort, workerData } from "node:worker_threads";
import { arrayColumn, ClickHouse, constantColumn, fixedColumn, type Login } from "@mistral-sae/clickhouse";
import { u32View } from "@mistral-sae/tensor";
import { Growing } from "../blocks/growing.ts";
import { RowReader } from "../store/row-reader.ts";
import { T } from "../store/tables.ts";
import { serveTasks } from "../workers/worker-side.ts";
import { CoactivationCounter, type Coactivations } from "./coactivation.ts";

/** What a co-activation worker is started with. */
export interface CoactivationWorkerData {
  readonly url: string;
  readonly login: Login;
}

/** A run of features, one insert; there is no result. */
export interface CoactivationTask {
  readonly indexId: number;
  readonly dSae: number;
  readonly start: number;
  readonly end: number;
}

const { url, login } = workerData as CoactivationWorkerData;
const clickhouse = new ClickHouse({ url, login, maxConnections: 2 });

let counter: CoactivationCounter | undefined;

serveTasks(parentPort, async ({ indexId, dSae, start, end: stop }: CoactivationTask) => {
  counter ??= await readCodes(indexId, dSae);
  const { nTokens } = counter;
  const rows: Coactivations[] = [];
  for (let feature = start; feature < stop; feature++) rows.push(counter.of(feature));
  let end = 0;
  const rowEnds = Uint32Array.from(rows, ({ others }) => (end += others.length));
  const columns = [
    constantColumn("index_id", "UInt32", indexId, rows.length),
    fixedColumn("feature_index", "UInt32", Uint32Array.from(rows, (_, i) => start + i)),
    constantColumn("n_tokens_sampled", "UInt32", nTokens, rows.length),
    fixedColumn("n_sampled", "UInt32", Uint32Array.from(rows, (row) => row.n)),
    arrayColumn("coactive", "UInt32", rowEnds, Uint32Array.from(rows.flatMap(({ others }) => others))),
    arrayColumn("coactive_n", "UInt32", rowEnds, Uint32Array.from(rows.flatMap(({ othersN }) => othersN))),
    arrayColumn("coactive_together", "UInt32", rowEnds, Uint32Array.from(rows.flatMap(({ together }) => together))),
  ];
  await clickhouse.insertColumns(T.stagedCoactivations, columns, { deduplicationToken: `${indexId}/${start}` });
  return { result: undefined };
});

async function readCodes(indexId: number, dSae: number): Promise<CoactivationCounter> {
  const ends = new Growing((n) => new Uint32Array(n));
  const features = new Growing((n) => new Uint32Array(n));
  const reader = new RowReader((row) => {
    features.append(u32View(row.array(4)) as Uint32Array<ArrayBuffer>);
    ends.push(features.length);
  });
  const sql = `SELECT features FROM ${T.sampledCodes} WHERE index_id = {indexId:UInt32} ORDER BY sequence_id, token_index`;
  for await (const chunk of clickhouse.bytes(sql, "RowBinary", { indexId })) reader.push(chunk);
  reader.end();
  return new CoactivationCounter({ ends: ends.view(), features: features.view() }, dSae);
}
