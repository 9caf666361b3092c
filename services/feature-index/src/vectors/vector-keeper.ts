import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { EmbedExplanationsRequestSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type Operation, OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import type { JobEngine } from "@mistral-sae/jobs";
import { createLogger } from "@mistral-sae/telemetry";
import { EMBED_KIND, type EmbedParts, missingOf } from "./embed-job.ts";

const log = createLogger("feature-index");
/** Between two operations of one SAE: explanations that arrive one by one are embedded together. */
const PAUSE_MS = 2_000;

/** Starts embedding when something lacks a vector. What is missing stands in the tables, so a crash loses nothing: it is looked for at each start. */
export class VectorKeeper {
  readonly #parts: EmbedParts;
  readonly #engine: JobEngine;
  readonly #closing = new AbortController();
  /** By SAE: whether to look again when the work under way is done. */
  readonly #busy = new Map<string, boolean>();

  constructor(parts: EmbedParts, engine: JobEngine) {
    this.#parts = parts;
    this.#engine = engine;
  }

  /** Looks for what an SAE lacks, now or when the work under way is done. */
  wake(sae: string): void {
    if (this.#closing.signal.aborted) return;
    if (this.#busy.has(sae)) {
      this.#busy.set(sae, true);
      return;
    }
    this.#busy.set(sae, false);
    void this.#work(sae);
  }

  wakeAll(): void {
    for (const sae of new Set(this.#parts.catalogue.saes().map(({ name }) => name))) this.wake(sae);
  }

  close(): void {
    this.#closing.abort();
  }

  async #work(sae: string): Promise<void> {
    const { signal } = this.#closing;
    try {
      for (;;) {
        for (const { name } of this.#underWay()) await this.#engine.wait(name, { signal });
        if ((await missingOf(this.#parts, sae)).length > 0) {
          signal.throwIfAborted();
          const { name } = this.#engine.start(EMBED_KIND, create(EmbedExplanationsRequestSchema, { sae }));
          const done = await this.#engine.wait(name, { signal });
          if (done.result.case === "error") log.warn("vectors of explanations could not be computed", { sae, operation: name, error: done.result.value.message });
        }
        if (this.#busy.get(sae) !== true) return;
        this.#busy.set(sae, false);
        await sleep(PAUSE_MS, undefined, { signal, ref: false });
      }
    } catch (error) {
      // What is missing is looked for again when something else is written.
      if (!signal.aborted) log.warn("vectors of explanations are behind", { sae, error: error instanceof Error ? error.message : String(error) });
    } finally {
      this.#busy.delete(sae);
    }
  }

  /** Operations that a former process left. */
  #underWay(): readonly Operation[] {
    return this.#engine.list({ kinds: [EMBED_KIND], states: [OperationState.QUEUED, OperationState.RUNNING] }).operations;
  }
}
