import { Worker } from "node:worker_threads";
import type { StageProgress } from "@mistral-sae/jobs";
import { internal } from "@mistral-sae/rpc";
import { unpackFailure, type FromStage, type ToStage } from "./messages.ts";

/** What the service does with a stage's messages. */
export interface StageListener<E> {
  readonly signal: AbortSignal;
  progress(progress: StageProgress): void;
  warn(text: string): void;
  event(event: E): void;
}

/** How long a stage may take to reach its next step after a stop before its thread is ended. */
const STOP_MS = 60_000;

/**
 * Runs a stage of a job on a thread of its own, so that the gRPC loop stays free. An abort asks the stage to
 * stop at its next step and then rejects with the signal's reason; a stage that does not come to a step within
 * a minute is ended where it is.
 * @throws What the stage threw, with its class restored.
 */
export async function runStage<Result, E = never>(entry: URL, task: unknown, listener: StageListener<E>): Promise<Result> {
  listener.signal.throwIfAborted();
  const worker = new Worker(entry, { workerData: task, name: entry.pathname.split("/").at(-1) ?? "stage" });
  const { promise, resolve, reject } = Promise.withResolvers<Result>();
  worker.on("message", (message: FromStage<Result, E>) => {
    if (message.kind === "progress") listener.progress(message.progress);
    else if (message.kind === "warning") listener.warn(message.text);
    else if (message.kind === "event") listener.event(message.event);
    else if (message.kind === "done") resolve(message.result);
    else reject(unpackFailure(message.failure));
  });
  worker.on("error", reject);
  worker.on("exit", (code) => reject(internal("STAGE_ENDED", `the stage's thread ended with code ${code} before its result`)));
  let timer: NodeJS.Timeout | undefined;
  const stop = (): void => {
    worker.postMessage({ kind: "stop" } satisfies ToStage);
    timer = setTimeout(() => void worker.terminate(), STOP_MS);
  };
  listener.signal.addEventListener("abort", stop, { once: true });
  try {
    return await promise;
  } catch (error) {
    listener.signal.throwIfAborted();
    throw error;
  } finally {
    clearTimeout(timer);
    listener.signal.removeEventListener("abort", stop);
    await worker.terminate();
  }
}
