import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { InputError } from "@mistral-sae/tensor";

/** How the vectors of tokens become one. */
export type Pooling = "mean" | "cls";

/** A sentence-embedding model as sentence-transformers writes it. */
export interface SentenceFolder {
  readonly folder: string;
  /** Of the graph and of all that decides the vectors. */
  readonly digest: string;
  readonly modelFile: string;
  readonly tokenizer: object;
  readonly tokenizerConfig: object;
  readonly pooling: Pooling;
  /** Tokens the model reads at once, special ones included. */
  readonly maxTokens: number;
  readonly lowerCase: boolean;
  /** What stands before a query and before a text; empty as a rule. */
  readonly prompts: { readonly query: string; readonly text: string };
}

type Json = Readonly<Record<string, unknown>>;

const MODEL_FILES = ["onnx/model.onnx", "model.onnx"] as const;
const LONGEST_SEQUENCE = 8_192;

/**
 * Reads modules.json, the pooling's config.json, sentence_bert_config.json, the tokenizer's two files and
 * config_sentence_transformers.json; a folder without modules.json gets mean pooling, as
 * there. Vectors are scaled to length 1 whether or not a Normalize asks for it: only their directions are compared. @throws InputError naming the file and what it asks for.
 */
export async function readSentenceFolder(path: string): Promise<SentenceFolder> {
  const folder = resolve(path);
  const modelFile = await firstOf(folder, MODEL_FILES);
  const tokenizer = await needed(folder, "tokenizer.json");
  const tokenizerConfig = (await optional(folder, "tokenizer_config.json")) ?? {};
  const { pooling, transformer } = await readModules(folder);
  const sentence = await optional(join(folder, transformer), "sentence_bert_config.json");
  const maxTokens = firstCount([sentence?.["max_seq_length"], tokenizerConfig["model_max_length"]]);
  if (maxTokens === undefined) throw refused(join(folder, "sentence_bert_config.json"), "max_seq_length", "nothing", `tokens that the model reads at once, 3 to ${LONGEST_SEQUENCE}`);
  const prompts = promptsOf((await optional(folder, "config_sentence_transformers.json"))?.["prompts"]);
  const lowerCase = sentence?.["do_lower_case"] === true;
  const hash = createHash("sha256").update(JSON.stringify([tokenizer, tokenizerConfig, pooling, maxTokens, lowerCase, prompts]));
  for await (const chunk of createReadStream(modelFile)) hash.update(chunk as Buffer);
  return { folder, digest: hash.digest("hex"), modelFile, tokenizer, tokenizerConfig, pooling, maxTokens, lowerCase, prompts };
}

/** Names a folder's vectors. */
export function sentenceSourceId({ folder, digest }: SentenceFolder): string {
  return `folder/${basename(folder)}/${digest.slice(0, 16)}`;
}

async function readModules(folder: string): Promise<{ readonly pooling: Pooling; readonly transformer: string }> {
  const file = join(folder, "modules.json");
  const modules = await readJson(file);
  if (modules === undefined) return { pooling: "mean", transformer: "" };
  if (!Array.isArray(modules)) throw refused(file, "", JSON.stringify(modules), "a list of modules");
  let pooling: Pooling | undefined;
  let normalize = false;
  let transformer = "";
  for (const [i, module] of (modules as readonly Json[]).entries()) {
    const type = String(module["type"]).split(".").at(-1);
    const place = typeof module["path"] === "string" ? module["path"] : "";
    if (type === "Transformer" && i === 0) transformer = place;
    else if (type === "Pooling" && pooling === undefined && !normalize) pooling = await readPooling(folder, join(place, "config.json"));
    else if (type === "Normalize" && pooling !== undefined) normalize = true;
    else throw refused(file, `[${i}].type`, String(module["type"]), "Transformer, Pooling, and at most Normalize, in this order");
  }
  if (pooling === undefined) throw refused(file, "", "no Pooling", "Transformer, Pooling, and at most Normalize, in this order");
  return { pooling, transformer };
}

async function readPooling(folder: string, name: string): Promise<Pooling> {
  const config = await needed(folder, name);
  // Newer files say the mode in words.
  const worded = typeof config["pooling_mode"] === "string" ? [config["pooling_mode"]] : [];
  const flagged = Object.entries(config).flatMap(([key, value]) => (key.startsWith("pooling_mode_") && value === true ? [key.slice("pooling_mode_".length)] : []));
  const modes = worded.length > 0 ? worded : flagged;
  const [mode] = modes;
  if (modes.length === 1 && (mode === "mean" || mode === "mean_tokens")) return "mean";
  if (modes.length === 1 && (mode === "cls" || mode === "cls_token")) return "cls";
  throw refused(join(folder, name), "pooling_mode", modes.join(" and ") || "none", "mean_tokens or cls_token alone");
}

function promptsOf(given: unknown): { readonly query: string; readonly text: string } {
  const prompts = typeof given === "object" && given !== null ? (given as Json) : {};
  const text = (names: readonly string[]): string => {
    const found = names.map((name) => prompts[name]).find((prompt) => typeof prompt === "string");
    return typeof found === "string" ? found : "";
  };
  return { query: text(["query"]), text: text(["document", "passage"]) };
}

function firstCount(values: readonly unknown[]): number | undefined {
  return values.find((value): value is number => typeof value === "number" && Number.isSafeInteger(value) && value >= 3 && value <= LONGEST_SEQUENCE);
}

async function firstOf(folder: string, names: readonly string[]): Promise<string> {
  for (const name of names) {
    const path = join(folder, name);
    if (await stat(path).then((found) => found.isFile(), () => false)) return path;
  }
  throw new InputError(`${folder}: holds no sentence-embedding model`, { file: folder, wanted: names.join(" or ") });
}

async function needed(folder: string, name: string): Promise<Json> {
  const found = await optional(folder, name);
  if (found === undefined) throw new InputError(`${join(folder, name)}: is not there`, { file: join(folder, name), wanted: "a file as sentence-transformers writes it" });
  return found;
}

async function optional(folder: string, name: string): Promise<Json | undefined> {
  return (await readJson(join(folder, name))) as Json | undefined;
}

async function readJson(file: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw refused(file, "", text.slice(0, 80), "JSON");
  }
}

function refused(file: string, field: string, got: string, wanted: string): InputError {
  return new InputError(`${file}: cannot be used`, { file, ...(field === "" ? {} : { field }), got, wanted });
}
