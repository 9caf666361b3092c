import { InputError } from "@mistral-sae/tensor";

type JsonObject = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Fields of a JSON object from a file, read one by one and checked. `null` counts as absent. */
export class Fields {
  readonly #file: string;
  readonly #prefix: string;
  readonly #values: JsonObject;

  private constructor(file: string, prefix: string, values: JsonObject) {
    this.#file = file;
    this.#prefix = prefix;
    this.#values = values;
  }

  static of(file: string, value: unknown): Fields {
    if (!isObject(value)) throw new InputError("the file does not hold a JSON object", { file, field: "content", got: value, wanted: "an object" });
    return new Fields(file, "", value);
  }

  /** The error for a field of this file. */
  error(name: string, message: string, got: unknown, wanted: unknown): InputError {
    return new InputError(message, { file: this.#file, field: this.#prefix + name, got, wanted });
  }

  /** The same fields, with values for those that the file leaves out; a `null` in the file stays. */
  withDefaults(defaults: JsonObject): Fields {
    return new Fields(this.#file, this.#prefix, { ...defaults, ...this.#values });
  }

  /** Whether the file gives the field a value other than `null`. */
  has(name: string): boolean {
    return this.#get(name) !== undefined;
  }

  object(name: string): Fields | undefined {
    const value = this.#get(name);
    if (value === undefined) return undefined;
    if (!isObject(value)) throw this.error(name, "not an object", value, "an object");
    return new Fields(this.#file, `${this.#prefix}${name}.`, value);
  }

  optionalNumber(name: string, least: number, most: number): number | undefined {
    const value = this.#get(name);
    if (value === undefined) return undefined;
    if (typeof value !== "number" || !(value >= least && value <= most)) throw this.error(name, "not a number in range", value, `a number from ${least} to ${most}`);
    return value;
  }

  number(name: string, least: number, most: number): number {
    return this.#required(name, this.optionalNumber(name, least, most), `a number from ${least} to ${most}`);
  }

  optionalInteger(name: string, least: number, most: number): number | undefined {
    const value = this.#get(name);
    if (value === undefined) return undefined;
    if (!Number.isSafeInteger(value) || Number(value) < least || Number(value) > most) throw this.error(name, "not an integer in range", value, `an integer from ${least} to ${most}`);
    return Number(value);
  }

  integer(name: string, least: number, most: number): number {
    return this.#required(name, this.optionalInteger(name, least, most), `an integer from ${least} to ${most}`);
  }

  optionalString(name: string): string | undefined {
    const value = this.#get(name);
    if (value === undefined) return undefined;
    if (typeof value !== "string") throw this.error(name, "not a string", value, "a string");
    return value;
  }

  optionalBoolean(name: string): boolean | undefined {
    const value = this.#get(name);
    if (value === undefined) return undefined;
    if (typeof value !== "boolean") throw this.error(name, "not a boolean", value, "true or false");
    return value;
  }

  strings(name: string): string[] | undefined {
    const value = this.#get(name);
    if (value === undefined) return undefined;
    if (!Array.isArray(value) || value.some((item) => typeof item !== "string")) throw this.error(name, "not a list of strings", value, "a list of strings");
    return value.map(String);
  }

  /** Names of the fields. */
  names(): string[] {
    return Object.keys(this.#values);
  }

  /** One non-negative integer or a list of them. */
  integers(name: string): number[] | undefined {
    const value = this.#get(name);
    if (value === undefined) return undefined;
    const list: unknown[] = Array.isArray(value) ? value : [value];
    if (list.some((item) => !Number.isSafeInteger(item) || Number(item) < 0)) throw this.error(name, "not a list of integers", value, "integers from 0");
    return list.map(Number);
  }

  #get(name: string): unknown {
    return Object.hasOwn(this.#values, name) ? (this.#values[name] ?? undefined) : undefined;
  }

  #required<T>(name: string, value: T | undefined, wanted: string): T {
    if (value === undefined) throw this.error(name, "the field is missing", "nothing", wanted);
    return value;
  }
}
