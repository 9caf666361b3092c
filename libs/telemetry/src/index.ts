export { counter, gauge, histogram, metricCatalogue, type MetricName } from "./instruments.ts";
export { createLogger, type LogFields, type Logger, type LoggerOptions, type LogLevel, logLevel, logLevels } from "./logger.ts";
export { type CalledMethod, type CallFailure, clientCalls, type ObservedCall, serverCalls } from "./rpc-calls.ts";
export { startTelemetry, type Telemetry, type TelemetryOptions } from "./start-telemetry.ts";
