/** A service behind the gateway. */
export type BackendName = "inference" | "training" | "feature-index" | "explanation" | "steering";

/** What the gateway is told by its environment. */
export interface GatewayConfig {
  /** host:port of gRPC. */
  readonly listen: string;
  /** host:port of HTTP: the page, Connect, gRPC-Web, JSON. */
  readonly httpListen: string;
  /** host:port of each backend. */
  readonly backends: Readonly<Record<BackendName, string>>;
  /** Origins besides the gateway's own whose pages may call it. */
  readonly allowedOrigins: readonly string[];
  /** Largest request taken, in bytes. */
  readonly maxRequestBytes: number;
}

export const configDefaults: GatewayConfig = {
  listen: "127.0.0.1:50050",
  httpListen: "127.0.0.1:8080",
  backends: {
    inference: "127.0.0.1:50051",
    training: "127.0.0.1:50052",
    "feature-index": "127.0.0.1:50053",
    explanation: "127.0.0.1:50054",
    steering: "127.0.0.1:50055",
  },
  allowedOrigins: [],
  maxRequestBytes: 64 << 20,
};

/** Reads MISTRAL_SAE_LISTEN, MISTRAL_SAE_GATEWAY_* and the peers' addresses. Throws naming the variable. */
export function readConfig(env: NodeJS.ProcessEnv): GatewayConfig {
  const { backends } = configDefaults;
  return {
    listen: address(env, "MISTRAL_SAE_LISTEN", configDefaults.listen),
    httpListen: address(env, "MISTRAL_SAE_GATEWAY_HTTP_LISTEN", configDefaults.httpListen),
    backends: {
      inference: address(env, "MISTRAL_SAE_INFERENCE", backends.inference),
      training: address(env, "MISTRAL_SAE_TRAINING", backends.training),
      "feature-index": address(env, "MISTRAL_SAE_FEATURE_INDEX", backends["feature-index"]),
      explanation: address(env, "MISTRAL_SAE_EXPLANATION", backends.explanation),
      steering: address(env, "MISTRAL_SAE_STEERING", backends.steering),
    },
    allowedOrigins: (env["MISTRAL_SAE_GATEWAY_ORIGINS"] ?? "").split(",").flatMap((origin) => (origin.trim() === "" ? [] : [origin.trim()])),
    maxRequestBytes: bytes(env, "MISTRAL_SAE_GATEWAY_MAX_REQUEST_BYTES", configDefaults.maxRequestBytes),
  };
}

function address(env: NodeJS.ProcessEnv, name: string, byDefault: string): string {
  const value = env[name] ?? byDefault;
  const port = /^.+:(\d{1,5})$/.exec(value)?.[1];
  if (port === undefined || Number(port) > 65_535) throw new Error(`${name}: got ${JSON.stringify(value)}, wanted host:port`);
  return value;
}

function bytes(env: NodeJS.ProcessEnv, name: string, byDefault: number): number {
  const value = Number(env[name] ?? byDefault);
  if (!Number.isSafeInteger(value) || value < 1024) throw new Error(`${name}: got ${JSON.stringify(env[name])}, wanted a whole number of bytes, 1024 or more`);
  return value;
}
