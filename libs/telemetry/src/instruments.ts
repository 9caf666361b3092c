import { type Counter, type Gauge, type Histogram, type Meter, metrics } from "@opentelemetry/api";

/** Metrics that the product emits, by name: the unit, and what is measured. */
export const metricCatalogue = {
  "rpc.server.call.duration": { unit: "s", description: "Duration of calls that a server took" },
  "rpc.client.call.duration": { unit: "s", description: "Duration of calls to a peer" },
  "gen_ai.server.request.duration": { unit: "s", description: "Duration of generations" },
  "gen_ai.server.time_to_first_token": { unit: "s", description: "Time until the first token of a generation" },
  "gen_ai.server.time_per_output_token": { unit: "s", description: "Time for each token after the first" },
  "gen_ai.client.operation.duration": { unit: "s", description: "Duration of calls to a language-model endpoint" },
  "gen_ai.client.token.usage": { unit: "{token}", description: "Tokens paid for at a language-model endpoint" },
  "mistral_sae.queue.requests": { unit: "{request}", description: "Requests that wait to be admitted" },
  "mistral_sae.queue.tokens": { unit: "{token}", description: "Tokens that wait to be admitted" },
  "mistral_sae.slots": { unit: "{slot}", description: "Decoding slots in use" },
  "mistral_sae.inference.kv.usage": { unit: "By", description: "Memory for keys and values that is spoken for" },
  "mistral_sae.inference.kv.limit": { unit: "By", description: "Memory for keys and values that there is" },
  "mistral_sae.inference.tokens": { unit: "{token}", description: "Tokens of prompts and answers" },
  "mistral_sae.inference.prefill.tokens": { unit: "{token}", description: "Tokens of prompts that were run" },
  "mistral_sae.inference.prefix_cache.queries": { unit: "{token}", description: "Tokens looked up in the prefix cache" },
  "mistral_sae.inference.prefix_cache.hits": { unit: "{token}", description: "Tokens found in the prefix cache" },
  "mistral_sae.inference.prefix_cache.evictions": { unit: "{prefix}", description: "Prefixes given up for memory" },
  "mistral_sae.inference.preemptions": { unit: "{request}", description: "Generations set back for memory" },
  "mistral_sae.inference.restarts": { unit: "{restart}", description: "Engines started again after they died" },
  "mistral_sae.sae.l0": { unit: "{feature}", description: "Mean active features a token" },
  "mistral_sae.sae.dead_fraction": { unit: "1", description: "Share of dead features" },
  "mistral_sae.explain.cost_usd": { unit: "{USD}", description: "Money paid for explanations and scores" },
} as const;

export type MetricName = keyof typeof metricCatalogue;

// The metrics API has no proxies: an instrument made before the SDK started would stay silent for good.
let meter: Meter | undefined;
const histograms = new Map<MetricName, Histogram>();
const counters = new Map<MetricName, Counter>();
const gauges = new Map<MetricName, Gauge>();

/** Makes the next use of an instrument ask the provider of that moment for it. */
export function forgetInstruments(): void {
  meter = undefined;
  histograms.clear();
  counters.clear();
  gauges.clear();
}

function currentMeter(): Meter {
  meter ??= metrics.getMeter("mistral-sae");
  return meter;
}

/** A distribution; buckets of durations follow the semantic conventions. */
export function histogram(name: MetricName): Histogram {
  let instrument = histograms.get(name);
  if (instrument === undefined) {
    const options = metricCatalogue[name];
    const advice = options.unit === "s" ? { advice: { explicitBucketBoundaries: [...secondsBuckets] } } : {};
    instrument = currentMeter().createHistogram(name, { ...options, ...advice });
    histograms.set(name, instrument);
  }
  return instrument;
}

const secondsBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** A sum that only grows. */
export function counter(name: MetricName): Counter {
  let instrument = counters.get(name);
  if (instrument === undefined) {
    instrument = currentMeter().createCounter(name, metricCatalogue[name]);
    counters.set(name, instrument);
  }
  return instrument;
}

/** A value as it stands. */
export function gauge(name: MetricName): Gauge {
  let instrument = gauges.get(name);
  if (instrument === undefined) {
    instrument = currentMeter().createGauge(name, metricCatalogue[name]);
    gauges.set(name, instrument);
  }
  return instrument;
}
