import type { JobContext } from "@mistral-sae/jobs";
import type { Method } from "../explainers/explanation-maker.ts";
import type { ExplanationDesk, WorkContext } from "../explanation-desk.ts";
import { EndpointGate } from "../llm/backoff.ts";
import type { Spending } from "../llm/spending.ts";

/** What the shards of one operation share while they run in this process. */
interface Shared {
  readonly spending: Spending;
  readonly gate: EndpointGate;
  readonly method: Promise<Method> | undefined;
}

/** Remembers, by operation, its budget and its resolved method, and counts finished units durably. */
export class OperationWork {
  readonly #desk: ExplanationDesk;
  readonly #shared = new Map<string, Shared>();

  constructor(desk: ExplanationDesk) {
    this.#desk = desk;
  }

  /** The operation's budget; `method` resolves once for all of its shards. */
  begin(ctx: JobContext, maxUsd: number | undefined, maxConcurrency: number, method?: () => Promise<Method>): WorkContext & { readonly method: Promise<Method> | undefined } {
    let shared = this.#shared.get(ctx.name);
    if (shared === undefined) {
      shared = { spending: this.#desk.spending(maxUsd, ctx.name), gate: new EndpointGate(maxConcurrency || 4), method: method?.() };
      shared.method?.catch(() => this.#shared.delete(ctx.name));
      this.#shared.set(ctx.name, shared);
    }
    return { signal: ctx.signal, operation: ctx.name, ...shared };
  }

  end(ctx: JobContext): void {
    this.#shared.delete(ctx.name);
  }
}

/** Reports `units` more of a stage as done. */
export function advance(ctx: JobContext, stage: string, unit: string, units: number): void {
  const done = Number(ctx.state.get(`${stage}.done`) ?? 0) + units;
  ctx.state.set(`${stage}.done`, done);
  ctx.progress({ stage, doneUnits: done, totalUnits: Number(ctx.state.get(`${stage}.total`) ?? 0), unit });
}

/** Sets a stage's size and reports its beginning. */
export function beginStage(ctx: JobContext, stage: string, unit: string, total: number): void {
  ctx.state.set(`${stage}.total`, total);
  ctx.progress({ stage, doneUnits: Number(ctx.state.get(`${stage}.done`) ?? 0), totalUnits: total, unit });
}

/** Cuts a list into runs of at most `size`. */
export function chunks<T>(items: readonly T[], size: number): T[][] {
  const cut: T[][] = [];
  for (let i = 0; i < items.length; i += size) cut.push(items.slice(i, i + size));
  return cut;
}
