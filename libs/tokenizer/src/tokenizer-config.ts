import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { InputError } from "@mistral-sae/tensor";

/** What `tokenizer_config.json` and the files beside it say of a tokenizer. */
export interface TokenizerConfig {
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
  readonly unkToken: string | undefined;
  readonly padToken: string | undefined;
  /** Whether plain text gets a BOS; undefined leaves it to the tokenizer. */
  readonly addBosToken: boolean | undefined;
  /** Jinja source. */
  readonly chatTemplate: string | undefined;
}

/**
 * Reads tokenizer_config.json, with special_tokens_map.json where it is silent. The chat template is that of
 * chat_template.jinja, of tokenizer_config.json or of chat_template.json, the first there is. A folder without them gives a configuration in which everything is undefined.
 *
 * @throws InputError for a file that is no JSON object.
 */
export async function readTokenizerConfig(folder: string): Promise<TokenizerConfig> {
  const config = await readObject(join(folder, "tokenizer_config.json"));
  const map = await readObject(join(folder, "special_tokens_map.json"));
  const token = (name: string) => tokenText(config[name]) ?? tokenText(map[name]);
  const addBos = config["add_bos_token"];
  const template =
    (await readOptional(join(folder, "chat_template.jinja"))) ??
    templateText(config["chat_template"]) ??
    templateText((await readObject(join(folder, "chat_template.json")))["chat_template"]);
  return {
    bosToken: token("bos_token"),
    eosToken: token("eos_token"),
    unkToken: token("unk_token"),
    padToken: token("pad_token"),
    addBosToken: typeof addBos === "boolean" ? addBos : undefined,
    chatTemplate: template,
  };
}

/** A special token is a string, or an AddedToken object with its text in `content`. */
function tokenText(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (typeof value !== "object" || value === null) return undefined;
  const content = (value as { content?: unknown }).content;
  return typeof content === "string" ? content : undefined;
}

/** A template is a string, or a list of named ones of which "default" counts. */
function templateText(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  const named = value as { name?: unknown; template?: unknown }[];
  const chosen = named.find((entry) => entry.name === "default");
  return typeof chosen?.template === "string" ? chosen.template : undefined;
}

async function readObject(file: string): Promise<Record<string, unknown>> {
  const text = await readOptional(file);
  if (text === undefined) return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new InputError(`${file}: is not JSON (${error instanceof Error ? error.message : String(error)})`, { file });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new InputError(`${file}: holds no JSON object`, {
      file,
      got: Array.isArray(value) ? "a list" : typeof value,
      wanted: "an object",
    });
  }
  return value as Record<string, unknown>;
}

async function readOptional(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
