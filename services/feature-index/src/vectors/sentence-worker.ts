import { parentPort, workerData } from "node:worker_threads";
import { serveTasks } from "../workers/worker-side.ts";
import type { SentenceFolder } from "./sentence-folder.ts";
import { SentenceModel } from "./sentence-model.ts";

/** What the thread is started with. */
export interface SentenceWorkerData {
  readonly folder: SentenceFolder;
  readonly threads: number;
}

/** Texts to embed. */
export interface SentenceTask {
  readonly texts: readonly string[];
  readonly as: "query" | "text";
}

const { folder, threads } = workerData as SentenceWorkerData;
const opening = SentenceModel.open(folder, threads);
// Whoever asks first is told.
opening.catch(() => undefined);

serveTasks(parentPort, async ({ texts, as }: SentenceTask) => ({ result: await (await opening).embed(texts, as) }));
