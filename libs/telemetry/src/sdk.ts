import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-grpc";
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-grpc";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchLogRecordProcessor } from "@opentelemetry/sdk-logs";
import { PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";
import { NodeSDK } from "@opentelemetry/sdk-node";
import type { TelemetryOptions } from "./start-telemetry.ts";

/** Milliseconds between two exports of the metrics, unless OTEL_METRIC_EXPORT_INTERVAL says otherwise. */
const exportIntervalMs = 10_000;

/** Registers the SDK as the process's provider of traces, metrics and logs. */
export function startSdk(
  url: string,
  options: TelemetryOptions,
  env: Readonly<Record<string, string | undefined>>,
): NodeSDK {
  const exportIntervalMillis = Number(env["OTEL_METRIC_EXPORT_INTERVAL"] ?? exportIntervalMs);
  const version = options.serviceVersion === undefined ? {} : { "service.version": options.serviceVersion };
  const sdk = new NodeSDK({
    serviceName: env["OTEL_SERVICE_NAME"] ?? options.serviceName,
    resource: resourceFromAttributes(version),
    instrumentations: [],
    traceExporter: new OTLPTraceExporter({ url }),
    metricReaders: [
      new PeriodicExportingMetricReader({
        exporter: new OTLPMetricExporter({ url }),
        exportIntervalMillis,
        exportTimeoutMillis: Math.min(exportIntervalMillis, 5000),
      }),
    ],
    logRecordProcessors: [new BatchLogRecordProcessor({ exporter: new OTLPLogExporter({ url }) })],
  });
  sdk.start();
  return sdk;
}
