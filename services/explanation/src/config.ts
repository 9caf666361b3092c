import { readFileSync } from "node:fs";
import { InputError } from "@mistral-sae/tensor";
import type { Price } from "./llm/price.ts";

/** An OpenAI-compatible endpoint. Credentials come from here and never from a request. */
export interface EndpointConfig {
  /** client_id in requests. */
  readonly name: string;
  readonly baseUrl: string;
  /** Model asked where a request names none. */
  readonly model: string;
  readonly apiKey: string;
  /** Calls at a time, whatever requests ask for. */
  readonly maxConcurrency: number;
  /** Milliseconds until a call is given up. */
  readonly timeoutMs: number;
  /** Attempts at a call that meets 429, 5xx, a timeout or a broken connection. */
  readonly maxAttempts: number;
  /** By model. */
  readonly prices: Readonly<Record<string, Price>>;
}

/** Settings of the explanation service. */
export interface ExplanationConfig {
  /** host:port; port 0 takes a free one. */
  readonly listen: string;
  /** Folder that this service owns. */
  readonly data: string;
  /** host:port of the feature-index service. */
  readonly featureIndex: string;
  /** The first one is the default; none leaves only what needs no language model. */
  readonly endpoints: readonly EndpointConfig[];
}

export const explanationDefaults: ExplanationConfig = {
  listen: "127.0.0.1:50054",
  data: ".mistral-sae/explanation",
  featureIndex: "127.0.0.1:50053",
  endpoints: [],
};

export const endpointDefaults = { apiKey: "none", maxConcurrency: 8, timeoutMs: 60_000, maxAttempts: 6, prices: {} } as const;

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Settings from the environment. MISTRAL_SAE_LLM_BASE_URL, _MODEL, _API_KEY and _PRICES describe the endpoint
 * "default"; MISTRAL_SAE_LLM_ENDPOINTS names a JSON file with a list of further ones. Throws InputError naming the variable.
 */
export function readConfig(env: Environment): ExplanationConfig {
  const file = env["MISTRAL_SAE_LLM_ENDPOINTS"];
  return {
    listen: env["MISTRAL_SAE_LISTEN"] ?? explanationDefaults.listen,
    data: env["MISTRAL_SAE_DATA"] ?? explanationDefaults.data,
    featureIndex: env["MISTRAL_SAE_FEATURE_INDEX"] ?? explanationDefaults.featureIndex,
    endpoints: [...defaultEndpoint(env), ...(file === undefined || file === "" ? [] : endpointsOf(file, env))],
  };
}

function defaultEndpoint(env: Environment): EndpointConfig[] {
  const baseUrl = env["MISTRAL_SAE_LLM_BASE_URL"] ?? "";
  if (baseUrl === "") return [];
  const model = env["MISTRAL_SAE_LLM_MODEL"] ?? "";
  if (model === "") throw refused("MISTRAL_SAE_LLM_MODEL", "", "the model to ask at MISTRAL_SAE_LLM_BASE_URL");
  const prices = env["MISTRAL_SAE_LLM_PRICES"];
  return [
    {
      ...endpointDefaults,
      name: "default",
      baseUrl: checkedUrl("MISTRAL_SAE_LLM_BASE_URL", baseUrl),
      model,
      apiKey: env["MISTRAL_SAE_LLM_API_KEY"] ?? endpointDefaults.apiKey,
      timeoutMs: positive(env, "MISTRAL_SAE_LLM_TIMEOUT_MS", endpointDefaults.timeoutMs),
      maxAttempts: positive(env, "MISTRAL_SAE_LLM_MAX_ATTEMPTS", endpointDefaults.maxAttempts),
      maxConcurrency: positive(env, "MISTRAL_SAE_LLM_MAX_CONCURRENCY", endpointDefaults.maxConcurrency),
      prices: prices === undefined || prices === "" ? {} : pricesOf("MISTRAL_SAE_LLM_PRICES", parse("MISTRAL_SAE_LLM_PRICES", prices)),
    },
  ];
}

/** [{"name", "base_url", "model", "api_key_env"?, "prices"?}] */
function endpointsOf(file: string, env: Environment): EndpointConfig[] {
  const list = parse(file, readFileSync(file, "utf8"));
  if (!Array.isArray(list)) throw refused(file, JSON.stringify(list), "a list of endpoints");
  return list.map((entry: Readonly<Record<string, unknown>>, i) => {
    const text = (key: string): string => {
      const value = entry[key];
      if (typeof value !== "string" || value === "") throw refused(`${file}: [${i}].${key}`, String(value), "a text");
      return value;
    };
    const keyVariable = entry["api_key_env"];
    return {
      ...endpointDefaults,
      name: text("name"),
      baseUrl: checkedUrl(`${file}: [${i}].base_url`, text("base_url")),
      model: text("model"),
      apiKey: (typeof keyVariable === "string" ? env[keyVariable] : undefined) ?? endpointDefaults.apiKey,
      prices: entry["prices"] === undefined ? {} : pricesOf(`${file}: [${i}].prices`, entry["prices"]),
    };
  });
}

/** {"model": {"prompt": USD, "completion": USD}}, a million tokens each. */
function pricesOf(field: string, value: unknown): Record<string, Price> {
  if (typeof value !== "object" || value === null) throw refused(field, String(value), '{"model": {"prompt": 0.1, "completion": 0.4}}');
  const prices: Record<string, Price> = {};
  for (const [model, price] of Object.entries(value as Readonly<Record<string, Partial<Price> | null>>)) {
    const { prompt, completion } = price ?? {};
    if (typeof prompt !== "number" || typeof completion !== "number" || !(prompt >= 0) || !(completion >= 0)) {
      throw refused(`${field}.${model}`, JSON.stringify(price), "prompt and completion in USD a million tokens, each at least 0");
    }
    prices[model] = { prompt, completion };
  }
  return prices;
}

function parse(field: string, text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw refused(field, text.slice(0, 80), "JSON");
  }
}

function checkedUrl(field: string, url: string): string {
  const scheme = URL.canParse(url) ? new URL(url).protocol : "";
  if (scheme !== "http:" && scheme !== "https:") throw refused(field, url, "an http or https URL, e.g. https://host/v1");
  return url;
}

function positive(env: Environment, name: string, fallback: number): number {
  const text = env[name] ?? "";
  const value = text === "" ? fallback : Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw refused(name, text, "a whole number of at least 1");
  return value;
}

function refused(field: string, got: string, wanted: string): InputError {
  return new InputError(`${field} cannot be used`, { field, got, wanted });
}
