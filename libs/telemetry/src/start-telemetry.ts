import { forgetInstruments } from "./instruments.ts";

/** Telemetry of this process. */
export interface Telemetry {
  /** Whether anything is exported. */
  readonly enabled: boolean;
  /** Sends what is buffered and stops; waits at most a few seconds for a collector that is away. */
  shutdown(): Promise<void>;
}

/** Who reports. */
export interface TelemetryOptions {
  /** service.name, e.g. "mistral-sae-inference"; OTEL_SERVICE_NAME wins. */
  readonly serviceName: string;
  readonly serviceVersion?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

const disabled: Telemetry = { enabled: false, shutdown: () => Promise.resolve() };

/**
 * Exports traces, metrics and logs by OTLP/gRPC where OTEL_EXPORTER_OTLP_ENDPOINT is set, else does nothing: the
 * SDK is loaded only then. Sampling, batching and headers follow the standard OTEL_* variables. Call it once, before
 * the first span or metric.
 */
export async function startTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  const env = options.env ?? process.env;
  const endpoint = env["OTEL_EXPORTER_OTLP_ENDPOINT"];
  if (endpoint === undefined || endpoint === "" || env["OTEL_SDK_DISABLED"] === "true") return disabled;
  const { startSdk } = await import("./sdk.ts");
  const sdk = startSdk(endpoint, options, env);
  forgetInstruments();
  return {
    enabled: true,
    shutdown: async () => {
      await Promise.race([sdk.shutdown().catch(() => undefined), new Promise((resolve) => setTimeout(resolve, 3000).unref())]);
      forgetInstruments();
    },
  };
}
