import { trace } from "@opentelemetry/api";
import { expect, test } from "vitest";
import { clientCalls, counter, createLogger, serverCalls, startTelemetry } from "../src/index.ts";
import { startOtlpReceiver } from "./otlp-receiver.ts";

const method = { name: "Generate", parent: { typeName: "mistral_sae.inference.v1.InferenceService" } };

test("without an endpoint nothing is exported, and spans, metrics and calls cost nothing but run", async () => {
  const telemetry = await startTelemetry({ serviceName: "quiet", env: {} });
  expect(telemetry.enabled).toBe(false);
  const call = serverCalls.start(method, { header: () => undefined });
  expect(call.run(() => 7)).toBe(7);
  call(undefined);
  counter("mistral_sae.explain.cost_usd").add(1);
  await telemetry.shutdown();
});

test("traces, metrics and logs reach an OTLP receiver, the server's span in the client's trace", async () => {
  const receiver = await startOtlpReceiver();
  const telemetry = await startTelemetry({ serviceName: "loud", env: { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url } });
  expect(telemetry.enabled).toBe(true);
  const lines: string[] = [];
  const logger = createLogger("test", { level: "info", write: (line) => lines.push(line) });

  const headers = new Map<string, string>();
  const client = clientCalls.start(method, "127.0.0.1:50051", (name, value) => headers.set(name, value));
  const server = serverCalls.start(method, { header: (name) => headers.get(name) });
  const serverTrace = server.run(() => {
    logger.info("inside the call", { sequences: 3 });
    return trace.getActiveSpan()?.spanContext().traceId;
  });
  server({ code: 13, message: "it broke", reason: "STEERING_NOT_APPLIED" });
  client(undefined);
  expect(headers.get("traceparent")).toContain(serverTrace);
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({ trace_id: serverTrace, sequences: 3 });

  await telemetry.shutdown();
  receiver.close();
  const traces = Buffer.concat(receiver.traces).toString("latin1");
  expect(traces).toContain("loud");
  expect(traces).toContain("mistral_sae.inference.v1.InferenceService/Generate");
  expect(traces).toContain("STEERING_NOT_APPLIED");
  const metrics = Buffer.concat(receiver.metrics).toString("latin1");
  expect(metrics).toContain("rpc.server.call.duration");
  expect(metrics).toContain("rpc.client.call.duration");
  expect(Buffer.concat(receiver.logs).toString("latin1")).toContain("inside the call");
});
