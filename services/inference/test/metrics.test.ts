import { metrics } from "@opentelemetry/api";
import { AggregationTemporality, type DataPoint, type Histogram, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";
import { afterAll, beforeAll, expect, it } from "vitest";
import { generate } from "./support/generate.ts";
import { expectIdle, loadOf } from "./support/load.ts";
import { ids } from "./support/messages.ts";
import { MODEL, removeData, startService, type TestService } from "./support/service.ts";

const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });

let service: TestService;
beforeAll(async () => {
  metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }));
  service = await startService();
});
afterAll(async () => {
  await service.stop();
  await removeData(service);
  await reader.shutdown();
});

/** The points of every metric as they stand. */
async function points(): Promise<(name: string, attributes?: Readonly<Record<string, string>>) => DataPoint<number | Histogram>> {
  exporter.reset();
  await reader.forceFlush();
  const all = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics: found }) => found));
  return (name, attributes = {}) => {
    const found = all
      .filter(({ descriptor }) => descriptor.name === name)
      .flatMap(({ dataPoints }) => dataPoints as readonly DataPoint<number | Histogram>[])
      .find((point) => point.attributes["gen_ai.request.model"] === MODEL && Object.entries(attributes).every(([key, value]) => point.attributes[key] === value));
    if (found === undefined) throw new Error(`nothing was measured as ${name}`);
    return found;
  };
}

it("a generation is measured: its tokens, its times, what it found and what it holds", async () => {
  const prompt = [1, ...Array.from({ length: 40 }, (_, i) => 200 + i)];
  const request = { prompt: ids(prompt), sampling: { temperature: 0, maxTokens: 10, ignoreEos: true } };
  await generate(service, request);
  await generate(service, request);
  await expect(generate(service, { ...request, sampling: { ...request.sampling, maxTokens: 500 } })).rejects.toThrow("max_tokens");
  await expectIdle(service);
  const point = await points();
  const value = (name: string, attributes?: Readonly<Record<string, string>>) => point(name, attributes).value;
  expect(value("mistral_sae.inference.tokens", { "gen_ai.token.type": "input" })).toBe(82);
  expect(value("mistral_sae.inference.tokens", { "gen_ai.token.type": "output" })).toBe(20);
  expect(value("mistral_sae.inference.prefill.tokens")).toBe(42);
  expect(value("mistral_sae.inference.prefix_cache.queries")).toBe(82);
  expect(value("mistral_sae.inference.prefix_cache.hits")).toBe(40);
  for (const name of ["gen_ai.server.request.duration", "gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token"]) {
    expect((value(name) as Histogram).count).toBe(2);
  }
  expect(point("gen_ai.server.time_to_first_token").attributes["gen_ai.operation.name"]).toBe("text_completion");
  for (const name of ["mistral_sae.queue.requests", "mistral_sae.queue.tokens", "mistral_sae.slots"]) expect(value(name)).toBe(0);
  expect(value("mistral_sae.inference.kv.limit")).toBe(2 ** 30);
  expect(value("mistral_sae.inference.kv.usage", { "mistral_sae.kv.state": "reserved" })).toBe(0);
  const { kvBytesPrefixes } = await loadOf(service);
  expect(value("mistral_sae.inference.kv.usage", { "mistral_sae.kv.state": "prefix" })).toBe(Number(kvBytesPrefixes));
});
