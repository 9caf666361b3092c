import { counter, gauge, histogram } from "@mistral-sae/telemetry";

/** How a generation ended, for the metrics. */
export interface Ended {
  /** Milliseconds from admission to the first token; undefined when there was none. */
  readonly firstTokenMs: number | undefined;
  /** Milliseconds from admission to the end. */
  readonly totalMs: number;
  /** Tokens generated, of all variants. */
  readonly outputTokens: number;
  /** Tokens of the variant that generated most. */
  readonly longest: number;
  readonly error: string | undefined;
}

/** What a scheduler holds at a moment. */
export interface SchedulerState {
  readonly queued: number;
  readonly queuedTokens: number;
  readonly rows: number;
  readonly reservedBytes: number;
  readonly prefixBytes: number;
}

/** The instruments of one model's scheduler; names are OpenTelemetry's where its conventions have one. */
export class SchedulerMetrics {
  readonly #attributes: Readonly<Record<string, string>>;

  constructor(model: string, cacheBytes: number) {
    this.#attributes = { "gen_ai.operation.name": "text_completion", "gen_ai.provider.name": "mistral_sae", "gen_ai.request.model": model };
    gauge("mistral_sae.inference.kv.limit").record(cacheBytes, this.#attributes);
  }

  /** The state after something changed. */
  state({ queued, queuedTokens, rows, reservedBytes, prefixBytes }: SchedulerState): void {
    const attributes = this.#attributes;
    gauge("mistral_sae.queue.requests").record(queued, attributes);
    gauge("mistral_sae.queue.tokens").record(queuedTokens, attributes);
    gauge("mistral_sae.slots").record(rows, attributes);
    gauge("mistral_sae.inference.kv.usage").record(reservedBytes, { ...attributes, "mistral_sae.kv.state": "reserved" });
    gauge("mistral_sae.inference.kv.usage").record(prefixBytes, { ...attributes, "mistral_sae.kv.state": "prefix" });
  }

  /** A prompt was read: tokens of it, and how many of those were found in the prefix cache or a row beside it. */
  prefilled(promptTokens: number, cachedTokens: number, ranTokens: number): void {
    counter("mistral_sae.inference.tokens").add(promptTokens, { ...this.#attributes, "gen_ai.token.type": "input" });
    counter("mistral_sae.inference.prefill.tokens").add(ranTokens, this.#attributes);
    counter("mistral_sae.inference.prefix_cache.queries").add(promptTokens, this.#attributes);
    counter("mistral_sae.inference.prefix_cache.hits").add(cachedTokens, this.#attributes);
  }

  evicted(prefixes: number): void {
    if (prefixes > 0) counter("mistral_sae.inference.prefix_cache.evictions").add(prefixes, this.#attributes);
  }

  preempted(): void {
    counter("mistral_sae.inference.preemptions").add(1, this.#attributes);
  }

  ended({ firstTokenMs, totalMs, outputTokens, longest, error }: Ended): void {
    const attributes = error === undefined ? this.#attributes : { ...this.#attributes, "error.type": error };
    histogram("gen_ai.server.request.duration").record(totalMs / 1000, attributes);
    counter("mistral_sae.inference.tokens").add(outputTokens, { ...this.#attributes, "gen_ai.token.type": "output" });
    if (firstTokenMs === undefined) return;
    histogram("gen_ai.server.time_to_first_token").record(firstTokenMs / 1000, this.#attributes);
    if (error === undefined && longest > 1) histogram("gen_ai.server.time_per_output_token").record((totalMs - firstTokenMs) / 1000 / (longest - 1), this.#attributes);
  }
}
