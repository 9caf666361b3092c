import { readFile } from "node:fs/promises";
import { duplicateKey, InputError } from "@mistral-sae/tensor";

/** A JSON object whose keys are read one by one with their types checked; errors name the file and the key. */
export class JsonObject {
  readonly file: string;
  readonly values: Readonly<Record<string, unknown>>;
  readonly #prefix: string;

  constructor(file: string, values: Readonly<Record<string, unknown>>, prefix = "") {
    this.file = file;
    this.values = values;
    this.#prefix = prefix;
  }

  /** The value at `key`; undefined for an absent key and for null. */
  get(key: string): unknown {
    return Object.hasOwn(this.values, key) ? (this.values[key] ?? undefined) : undefined;
  }

  /** A whole number of at least 1, or undefined when absent. */
  count(key: string): number | undefined {
    const value = this.get(key);
    if (value === undefined) return undefined;
    if (!Number.isSafeInteger(value) || (value as number) < 1) throw this.refuse(key, "a whole number of at least 1");
    return value as number;
  }

  number(key: string): number | undefined {
    const value = this.get(key);
    if (value !== undefined && typeof value !== "number") throw this.refuse(key, "a number");
    return value;
  }

  boolean(key: string): boolean | undefined {
    const value = this.get(key);
    if (value !== undefined && typeof value !== "boolean") throw this.refuse(key, "true or false");
    return value;
  }

  string(key: string): string | undefined {
    const value = this.get(key);
    if (value !== undefined && typeof value !== "string") throw this.refuse(key, "a string");
    return value;
  }

  /** One of `choices`, or undefined when absent. */
  choice<T extends string>(key: string, choices: readonly T[]): T | undefined {
    const value = this.get(key);
    if (value === undefined) return undefined;
    const found = choices.find((choice) => choice === value);
    if (found === undefined) throw this.refuse(key, `one of ${choices.join(", ")}`);
    return found;
  }

  object(key: string): JsonObject | undefined {
    const value = this.get(key);
    if (value === undefined) return undefined;
    if (!isObject(value)) throw this.refuse(key, "an object");
    return new JsonObject(this.file, value, `${this.#prefix}${key}.`);
  }

  /** `value`, or the error that `key` is missing when it is undefined. */
  required<T>(key: string, value: T | undefined): T {
    if (value === undefined) throw this.refuse(key, "a value");
    return value;
  }

  /** The error that what is at `key` is not what was wanted. */
  refuse(key: string, wanted: string, message?: string): InputError {
    const value = Object.hasOwn(this.values, key) ? this.values[key] : "nothing";
    return new InputError(message ?? `${this.#prefix}${key} is not valid`, { file: this.file, field: `${this.#prefix}${key}`, got: value, wanted });
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Reads a JSON object from a file, with its text. Throws InputError when the file is absent, not JSON, or names a key twice. */
export async function readJsonObject(file: string): Promise<{ readonly json: JsonObject; readonly text: string }> {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await readFile(file));
  } catch (error) {
    if (error instanceof TypeError) throw new InputError("the file is not UTF-8", { file }, { cause: error });
    if (error instanceof Error && "code" in error && error.code === "ENOENT") throw new InputError("there is no such file", { file }, { cause: error });
    throw error;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new InputError(`the file is not JSON: ${error instanceof Error ? error.message : String(error)}`, { file }, { cause: error });
  }
  if (!isObject(value)) throw new InputError("the file does not hold a JSON object", { file, got: Array.isArray(value) ? "an array" : typeof value, wanted: "an object" });
  const twice = duplicateKey(text);
  if (twice !== undefined) throw new InputError(`the key "${twice}" occurs twice`, { file, field: twice, got: "2 values", wanted: "1 value" });
  return { json: new JsonObject(file, value), text };
}
