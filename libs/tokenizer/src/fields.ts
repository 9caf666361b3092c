import { readFile } from "node:fs/promises";
import { InputError } from "@mistral-sae/tensor";

/** Beyond every published vocabulary; bounds what a damaged file can make this program allocate. */
export const LARGEST_VOCABULARY = 1 << 22;

/** Beyond every published tokenizer file. */
const LARGEST_FILE = 1 << 28;

/** Fields of a file that was read, each checked where it is used; errors name the file and the field. */
export class Fields {
  readonly file: string;
  readonly #path: string;
  readonly #values: Readonly<Record<string, unknown>>;

  /** @throws InputError when `value` is no object. */
  constructor(file: string, path: string, value: unknown) {
    this.file = file;
    this.#path = path;
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new InputError(`${file}: is not a tokenizer that can be used`, { file, ...(path === "" ? {} : { field: path }), got: describe(value), wanted: "an object" });
    }
    this.#values = value as Readonly<Record<string, unknown>>;
  }

  /** The field's path in the file. */
  path(name: string): string {
    return this.#path === "" ? name : `${this.#path}.${name}`;
  }

  error(name: string, got: unknown, wanted: string): InputError {
    return new InputError(`${this.file}: is not a tokenizer that can be used`, { file: this.file, field: this.path(name), got: describe(got), wanted });
  }

  has(name: string): boolean {
    return this.raw(name) !== undefined && this.raw(name) !== null;
  }

  names(): string[] {
    return Object.keys(this.#values);
  }

  raw(name: string): unknown {
    return Object.hasOwn(this.#values, name) ? this.#values[name] : undefined;
  }

  object(name: string): Fields {
    return new Fields(this.file, this.path(name), this.raw(name));
  }

  text(name: string, fallback?: string): string {
    const value = this.raw(name) ?? fallback;
    if (typeof value !== "string") throw this.error(name, value, "a text");
    return value;
  }

  /** A text of at least one character. */
  someText(name: string): string {
    const value = this.text(name);
    if (value === "") throw this.error(name, '""', "at least one character");
    return value;
  }

  flag(name: string, fallback: boolean): boolean {
    const value = this.raw(name) ?? fallback;
    if (typeof value !== "boolean") throw this.error(name, value, "true or false");
    return value;
  }

  /** An integer from 0 to below `below`. */
  integer(name: string, below: number): number {
    const value = this.raw(name);
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value >= below) throw this.error(name, value, `an integer from 0 to ${below - 1}`);
    return value;
  }

  list(name: string, fallback?: readonly unknown[]): readonly unknown[] {
    const value = this.raw(name) ?? fallback;
    if (!Array.isArray(value)) throw this.error(name, value, "a list");
    return value as readonly unknown[];
  }

  /** The object at a place of a list. */
  item(name: string, at: number): Fields {
    return new Fields(this.file, this.path(`${name}.${at}`), this.list(name)[at]);
  }

  objects(name: string, fallback?: readonly unknown[]): Fields[] {
    return this.list(name, fallback).map((value, i) => new Fields(this.file, this.path(`${name}.${i}`), value));
  }
}

/** @throws InputError for a file that cannot be read or is absurdly large. */
export async function readBytes(file: string): Promise<Uint8Array> {
  const bytes = await readFile(file).catch((error: unknown) => {
    throw new InputError(`${file}: cannot be read (${messageOf(error)})`, { file, wanted: "a tokenizer" });
  });
  if (bytes.length > LARGEST_FILE) throw new InputError(`${file}: is too large for a tokenizer`, { file, got: `${bytes.length} bytes`, wanted: `at most ${LARGEST_FILE}` });
  return bytes;
}

/** @throws InputError when the file is no JSON object. */
export async function readJson(file: string): Promise<Fields> {
  const text = new TextDecoder().decode(await readBytes(file));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new InputError(`${file}: is not JSON (${messageOf(error)})`, { file, wanted: "a tokenizer" });
  }
  return new Fields(file, "", value);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function describe(value: unknown): unknown {
  if (value === undefined) return "none";
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object" && value !== null) return "an object";
  return value;
}
