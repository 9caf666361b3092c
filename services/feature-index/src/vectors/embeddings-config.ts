import { InputError } from "@mistral-sae/tensor";

/** An endpoint that speaks OpenAI's embeddings. Its key comes from the environment alone. */
export interface EndpointEmbeddings {
  readonly kind: "endpoint";
  /** Up to and with /v1. */
  readonly baseUrl: string;
  readonly model: string;
  /** Empty to send none. */
  readonly apiKey: string;
  /** Values a vector that are asked for; 0 leaves it to the model. */
  readonly dimensions: number;
  /** Texts a call. */
  readonly batchSize: number;
  readonly timeoutMs: number;
  /** Attempts at a call that meets 429, 5xx, a timeout or a broken connection. */
  readonly maxAttempts: number;
}

/** A folder as sentence-transformers writes it, with an ONNX model. */
export interface FolderEmbeddings {
  readonly kind: "folder";
  readonly folder: string;
}

/** Where vectors of explanations come from. */
export type EmbeddingsConfig = { readonly kind: "own" } | EndpointEmbeddings | FolderEmbeddings;

export const endpointEmbeddingsDefaults = { apiKey: "", dimensions: 0, batchSize: 128, timeoutMs: 30_000, maxAttempts: 5 } as const;

type Environment = Readonly<Record<string, string | undefined>>;

/** MISTRAL_SAE_EMBEDDINGS_*; neither a folder nor an endpoint leaves our own vectors. @throws InputError naming the variable. */
export function readEmbeddingsConfig(env: Environment): EmbeddingsConfig {
  const folder = env["MISTRAL_SAE_EMBEDDINGS_FOLDER"] ?? "";
  const baseUrl = env["MISTRAL_SAE_EMBEDDINGS_BASE_URL"] ?? "";
  if (folder !== "" && baseUrl !== "") throw refused("MISTRAL_SAE_EMBEDDINGS_FOLDER", folder, "one source of vectors: no MISTRAL_SAE_EMBEDDINGS_BASE_URL beside it");
  if (folder !== "") return { kind: "folder", folder };
  if (baseUrl === "") return { kind: "own" };
  const scheme = URL.canParse(baseUrl) ? new URL(baseUrl).protocol : "";
  if (scheme !== "http:" && scheme !== "https:") throw refused("MISTRAL_SAE_EMBEDDINGS_BASE_URL", baseUrl, "an http or https URL, e.g. https://host/v1");
  const { username, password } = new URL(baseUrl);
  if (username !== "" || password !== "") throw refused("MISTRAL_SAE_EMBEDDINGS_BASE_URL", "a URL with a login", "the key in MISTRAL_SAE_EMBEDDINGS_API_KEY: addresses are shown");
  const model = env["MISTRAL_SAE_EMBEDDINGS_MODEL"] ?? "";
  if (model === "") throw refused("MISTRAL_SAE_EMBEDDINGS_MODEL", "", "the model to ask at MISTRAL_SAE_EMBEDDINGS_BASE_URL");
  const count = (name: string, fallback: number): number => {
    const text = env[name] ?? "";
    const value = text === "" ? fallback : Number(text);
    if (!Number.isSafeInteger(value) || value < (text === "" ? 0 : 1)) throw refused(name, text, "a whole number of at least 1");
    return value;
  };
  return {
    kind: "endpoint",
    baseUrl: baseUrl.replace(/\/+$/, ""),
    model,
    apiKey: env["MISTRAL_SAE_EMBEDDINGS_API_KEY"] ?? endpointEmbeddingsDefaults.apiKey,
    dimensions: count("MISTRAL_SAE_EMBEDDINGS_DIMENSIONS", endpointEmbeddingsDefaults.dimensions),
    batchSize: count("MISTRAL_SAE_EMBEDDINGS_BATCH_SIZE", endpointEmbeddingsDefaults.batchSize),
    timeoutMs: count("MISTRAL_SAE_EMBEDDINGS_TIMEOUT_MS", endpointEmbeddingsDefaults.timeoutMs),
    maxAttempts: count("MISTRAL_SAE_EMBEDDINGS_MAX_ATTEMPTS", endpointEmbeddingsDefaults.maxAttempts),
  };
}

function refused(field: string, got: string, wanted: string): InputError {
  return new InputError(`${field} cannot be used`, { field, got, wanted });
}
