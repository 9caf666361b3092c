import { parentPort, workerData } from "node:worker_threads";
import { ClickHouse, type Login } from "@mistral-sae/clickhouse";
import { serveTasks } from "../../workers/worker-side.ts";
import { type CacheTask, stageActivations, storeTokens, type TokensTask } from "../delphi/stage-cache.ts";
import type { ExampleTarget, TokenNumbers } from "./example-columns.ts";
import { type PeerFile, ReadMeter } from "./peer-file.ts";
import { scanFile } from "./scan-file.ts";
import { type ImportShard, writeShard } from "./write-shard.ts";

/** What an import's thread is started with. */
export interface ImportWorkerData {
  readonly url: string;
  readonly login: Login;
  /** Text of each token by id. */
  readonly texts: readonly string[];
  /** Ids of the special tokens. */
  readonly special: readonly number[];
}

/** Checks a file (result: FileScan), writes a shard (result: ShardCounts), or stores parts of a Delphi cache. */
export type ImportTask =
  | { readonly kind: "scan"; readonly file: PeerFile; readonly dSae: number; readonly meter: Float64Array }
  | { readonly kind: "write"; readonly shard: ImportShard; readonly target: ExampleTarget & { readonly dSae: number }; readonly meter: Float64Array }
  | ({ readonly kind: "tokens" } & TokensTask)
  | ({ readonly kind: "activations" } & CacheTask);

const { url, login, texts, special } = workerData as ImportWorkerData;
const clickhouse = new ClickHouse({ url, login, maxConnections: 4 });
let numbers: TokenNumbers | undefined;

serveTasks(parentPort, async (task: ImportTask) => {
  if (task.kind === "scan") return { result: await scanFile(task.file, task.dSae, new ReadMeter(task.meter)) };
  numbers ??= { ids: new Map(texts.map((text, id) => [text, id])), special: new Set(special) };
  if (task.kind === "write") return { result: await writeShard(clickhouse, task.shard, task.target, numbers, new ReadMeter(task.meter)) };
  if (task.kind === "tokens") return { result: await storeTokens(clickhouse, task, texts, numbers.special) };
  return { result: await stageActivations(clickhouse, task) };
});
