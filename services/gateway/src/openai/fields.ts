import { ApiError, badField, unsupported } from "./errors.ts";

/**
 * The fields of a JSON object. A field that is null counts as unset, as the API has it. `finish` refuses what nobody
 * has read.
 */
export class Fields {
  readonly #object: Readonly<Record<string, unknown>>;
  readonly #path: string;
  readonly #read = new Set<string>();

  constructor(value: unknown, path = "") {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new ApiError(`${path === "" ? "the body" : path}: is no JSON object`, path === "" ? { code: "invalid_json" } : { param: path, code: "invalid_type" });
    }
    this.#object = value as Readonly<Record<string, unknown>>;
    this.#path = path;
  }

  /** The full name of a field. */
  at(name: string): string {
    return this.#path === "" ? name : `${this.#path}.${name}`;
  }

  /** The value of a field; undefined when it is unset. */
  value(name: string): unknown {
    this.#read.add(name);
    return this.#object[name] ?? undefined;
  }

  has(name: string): boolean {
    return (this.#object[name] ?? undefined) !== undefined;
  }

  string(name: string): string | undefined {
    const value = this.value(name);
    if (value === undefined || typeof value === "string") return value;
    throw this.#wrong(name, value, "a string");
  }

  required(name: string): string {
    const value = this.string(name);
    if (value === undefined) throw new ApiError(`${this.at(name)}: is required`, { param: this.at(name), code: "missing_required_parameter" });
    return value;
  }

  boolean(name: string): boolean | undefined {
    const value = this.value(name);
    if (value === undefined || typeof value === "boolean") return value;
    throw this.#wrong(name, value, "true or false");
  }

  number(name: string, least = -Infinity, most = Infinity): number | undefined {
    const value = this.value(name);
    if (value === undefined) return undefined;
    if (typeof value !== "number") throw this.#wrong(name, value, "a number");
    if (value >= least && value <= most) return value;
    throw badField(this.at(name), `got ${value}, wanted ${least} to ${most}`);
  }

  integer(name: string, least: number, most: number): number | undefined {
    const value = this.number(name, least, most);
    if (value === undefined || Number.isSafeInteger(value)) return value;
    throw badField(this.at(name), `got ${value}, wanted a whole number`);
  }

  array(name: string): readonly unknown[] | undefined {
    const value = this.value(name);
    if (value === undefined || Array.isArray(value)) return value;
    throw this.#wrong(name, value, "a list");
  }

  /** Fields that are taken and change nothing here. */
  accept(...names: readonly string[]): void {
    for (const name of names) this.#read.add(name);
  }

  /** Fields that are known and refused unless they have one of the values that ask for nothing. */
  refuse(name: string, why: string, harmless: (value: unknown) => boolean = () => false): void {
    const value = this.value(name);
    if (value !== undefined && !harmless(value)) throw unsupported(this.at(name), why);
  }

  /** @throws ApiError for the first field that was set and not read. */
  finish(): void {
    const unknown = Object.keys(this.#object).find((name) => this.has(name) && !this.#read.has(name));
    if (unknown !== undefined) throw new ApiError(`${this.at(unknown)}: is not a parameter here`, { param: this.at(unknown), code: "unknown_parameter" });
  }

  #wrong(name: string, value: unknown, wanted: string): ApiError {
    return badField(this.at(name), `got ${JSON.stringify(value)?.slice(0, 100)}, wanted ${wanted}`, "invalid_type");
  }
}
