import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { InputError } from "@mistral-sae/tensor";

/** What a generation does where the request is silent. */
export interface GenerationDefaults {
  /** 0 is greedy. */
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  /** As many as fit the context when they are fewer. */
  readonly maxTokens: number;
}

export const generationDefaults: GenerationDefaults = {
  temperature: 0,
  topP: 1,
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
  maxTokens: 256,
};

/**
 * A model's generation_config.json, with transformers' meaning: without `do_sample` it decodes greedily, whatever
 * the temperature says. A folder without the file gives the defaults.
 *
 * @throws InputError for a file that is no JSON object, or a value of another type than a number.
 */
export async function readGenerationDefaults(folder: string): Promise<GenerationDefaults> {
  const file = join(folder, "generation_config.json");
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return generationDefaults;
    throw error;
  }
  let config: Record<string, unknown> | null;
  try {
    config = JSON.parse(text) as Record<string, unknown> | null;
  } catch (error) {
    throw new InputError(`${file}: is not JSON (${String(error)})`, { file });
  }
  if (typeof config !== "object" || config === null) throw new InputError(`${file}: holds no JSON object`, { file });
  const fields = config;
  const number = (name: string, fallback: number): number => {
    const value = fields[name];
    if (value === undefined || value === null) return fallback;
    if (typeof value === "number" && Number.isFinite(value)) return value;
    throw new InputError(`${file}: a value is no number`, { file, field: name, got: value, wanted: "a number" });
  };
  const sampled = fields["do_sample"] === true;
  return {
    temperature: sampled ? number("temperature", 1) : 0,
    topP: sampled ? number("top_p", 1) : 1,
    topK: sampled ? number("top_k", 0) : 0,
    minP: sampled ? number("min_p", 0) : 0,
    repetitionPenalty: number("repetition_penalty", 1),
    maxTokens: number("max_new_tokens", generationDefaults.maxTokens),
  };
}
