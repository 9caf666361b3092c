import type { JobContext } from "@mistral-sae/jobs";
import type { StageListener } from "../threads/run-stage.ts";

/** Hands a stage's progress and warnings on to its operation. */
export function stageListener<E = never>(ctx: JobContext, own: Partial<StageListener<E>> = {}): StageListener<E> {
  return {
    signal: ctx.signal,
    progress: (progress) => ctx.progress(progress),
    warn: (text) => ctx.warn(text),
    event: () => undefined,
    ...own,
  };
}
