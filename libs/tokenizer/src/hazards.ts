import { InputError } from "@mistral-sae/tensor";

/**
 * Refuses what the native tokenizer accepts when loading and dies of when encoding: a panic there ends the process,
 * so that it has to be met here.
 */
export function refuseHazards(file: string, json: Readonly<Record<string, unknown>>): void {
  const { unk_token: unknown, vocab } = (json["model"] ?? {}) as { unk_token?: unknown; vocab?: unknown };
  if (typeof unknown === "string" && typeof vocab === "object" && vocab !== null && !Array.isArray(vocab) && !Object.hasOwn(vocab, unknown)) {
    throw new InputError(`${file}: the token for unknown text is missing`, { file, field: "model.unk_token", got: unknown, wanted: "a token of model.vocab, or null" });
  }
  for (const part of ["normalizer", "pre_tokenizer", "decoder"]) walk(file, part, json[part]);
}

function walk(file: string, field: string, value: unknown): void {
  if (typeof value !== "object" || value === null) return;
  const { pattern, prepend } = value as { pattern?: { String?: unknown; Regex?: unknown } | null; prepend?: unknown };
  if (pattern?.String === "" || pattern?.Regex === "") throw empty(file, `${field}.pattern`);
  if (prepend === "") throw empty(file, `${field}.prepend`);
  for (const [key, inner] of Object.entries(value)) walk(file, `${field}.${key}`, inner);
}

function empty(file: string, field: string): InputError {
  return new InputError(`${file}: is not a tokenizer.json that can be used: a text in it is empty`, { file, field, got: '""', wanted: "at least one character" });
}
