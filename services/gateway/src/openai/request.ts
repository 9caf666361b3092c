import { badField, unsupported } from "./errors.ts";
import type { Exchange } from "./clients.ts";
import type { Fields } from "./fields.ts";
import type { SaeNamer } from "./steering.ts";

/** Choices of one request at most. */
export const MOST_CHOICES = 128;
/** Likeliest tokens at most, as everywhere here. */
export const MOST_LOGPROBS = 20;

/** models/{model}; both `demo` and `models/demo` are taken. */
export function readModel(fields: Fields): string {
  const model = fields.required("model");
  return model.startsWith("models/") ? model : `models/${model}`;
}

/** Whether to stream, and whether with the usage in a last event of its own. */
export function readStream(fields: Fields): { readonly stream: boolean; readonly includeUsage: boolean } {
  const stream = fields.boolean("stream") ?? false;
  const options = fields.value("stream_options");
  if (options === undefined) return { stream, includeUsage: false };
  if (!stream) throw badField("stream_options", "is given without stream, wanted it with stream: true");
  if (typeof options !== "object" || options === null) throw badField("stream_options", "wanted an object", "invalid_type");
  for (const [name, value] of Object.entries(options)) {
    if (name === "include_usage" && typeof value === "boolean") continue;
    if (name === "include_obfuscation" && value === false) continue;
    throw unsupported(`stream_options.${name}`, `got ${JSON.stringify(value)}, wanted include_usage: true or false only`);
  }
  return { stream, includeUsage: (options as { readonly include_usage?: boolean }).include_usage ?? false };
}

/** Fields of both routes that change nothing here, or are refused unless they ask for nothing. */
export function readCommon(fields: Fields): void {
  fields.accept("user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention");
  fields.refuse("store", "nothing is stored here, wanted false", (value) => value === false);
  fields.refuse("metadata", "nothing is stored here, wanted it unset", (value) => Object.keys(value as object).length === 0);
  fields.refuse("service_tier", 'there is one tier here, wanted "auto" or "default"', (value) => value === "auto" || value === "default");
}

/** Names SAEs: `models/{model}/saes/{sae}` as it is, a bare id as one of the model's, none as the only one loaded. */
export function saeNamer(model: string, { backends, options }: Exchange): SaeNamer {
  return async (field, sae) => {
    if (sae !== undefined) return sae.includes("/") ? sae : `${model}/saes/${sae}`;
    try {
      const { saes } = await backends.inference.getCapabilities({ model }, options);
      const [only] = saes;
      if (only !== undefined && saes.length === 1) return only;
      throw badField(field, saes.length === 0 ? `no SAE of ${model} is loaded` : `is required: ${saes.join(", ")} are loaded`, "missing_required_parameter");
    } catch (error) {
      throw backends.explain(error, "inference");
    }
  };
}
