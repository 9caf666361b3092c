import { parentPort, workerData } from "node:worker_threads";
import { ClickHouse, type Login } from "@mistral-sae/clickhouse";
import { serveTasks } from "../workers/worker-side.ts";
import { RangeBuilder } from "./build-range.ts";
import type { CorpusView } from "./corpus-view.ts";
import { type CorpusViewRequest, loadCorpusView } from "./load-corpus-view.ts";
import type { PostingRange } from "./posting-lists.ts";

/** What a feature worker is started with. */
export interface FeatureWorkerData {
  readonly url: string;
  readonly login: Login;
  /** Text of each token by id. */
  readonly texts: readonly string[];
}

/** Loads the text (result: CorpusView), or builds a range of features over it (result: RangeResult). */
export type FeatureTask =
  | { readonly kind: "load"; readonly request: CorpusViewRequest }
  | { readonly kind: "range"; readonly view: CorpusView; readonly range: PostingRange };

const { url, login, texts } = workerData as FeatureWorkerData;
const clickhouse = new ClickHouse({ url, login, maxConnections: 4 });
let builder: RangeBuilder | undefined;

serveTasks(parentPort, async (task: FeatureTask) => {
  if (task.kind === "load") return { result: await loadCorpusView(clickhouse, task.request) };
  builder ??= new RangeBuilder(clickhouse, task.view, texts);
  return { result: await builder.build(task.range) };
});
