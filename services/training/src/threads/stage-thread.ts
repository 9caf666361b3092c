import { parentPort } from "node:worker_threads";
import type { StageProgress } from "@mistral-sae/jobs";
import { explainDiskFull } from "./disk-full.ts";
import { packFailure, type FromStage, type ToStage } from "./messages.ts";

/** What a stage sees of the service that runs it. */
export interface StageContext<E = never> {
  /** Aborts when the run is paused, stopped or the service ends: stop at the next step with everything saved. */
  readonly signal: AbortSignal;
  progress(progress: StageProgress): void;
  warn(text: string): void;
  event(event: E): void;
}

/** The body of a stage's thread: runs the stage and reports its end. */
export async function serveStage<Result, E = never>(stage: (context: StageContext<E>) => Promise<Result>): Promise<void> {
  const port = parentPort;
  if (port === null) throw new Error("a stage runs in a worker thread");
  const send = (message: FromStage<Result, E>): void => port.postMessage(message);
  const abort = new AbortController();
  port.on("message", (message: ToStage) => {
    if (message.kind === "stop") abort.abort();
  });
  try {
    const result = await stage({
      signal: abort.signal,
      progress: (progress) => send({ kind: "progress", progress }),
      warn: (text) => send({ kind: "warning", text }),
      event: (event) => send({ kind: "event", event }),
    });
    send({ kind: "done", result });
  } catch (error) {
    send({ kind: "failed", failure: packFailure(explainDiskFull(error)) });
  }
  port.close();
}
