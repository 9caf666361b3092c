import { InputError } from "@mistral-sae/tensor";

/** Where a row of another program's file stands. */
export interface PeerPlace {
  readonly file: string;
  /** `line 12`, or `features[3]`. */
  readonly at: string;
}

/** A JSON object of another program, read field by field. Every error names file, place and field. */
export class PeerRow {
  readonly place: PeerPlace;
  readonly #fields: Readonly<Record<string, unknown>>;

  /** @throws InputError for what is no object, or has a field that is not in `known`. */
  constructor(value: unknown, known: ReadonlySet<string>, place: PeerPlace) {
    this.place = place;
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(place, "", "is no object", value, "an object");
    this.#fields = value as Readonly<Record<string, unknown>>;
    for (const name of Object.keys(this.#fields)) {
      if (!known.has(name)) throw wrong(place, name, "is no field of this format", this.#fields[name], "only the format's own fields");
    }
  }

  error(field: string, problem: string, wanted: string): InputError {
    return wrong(this.place, field, problem, this.#fields[field], wanted);
  }

  has(name: string): boolean {
    return this.#fields[name] !== undefined && this.#fields[name] !== null;
  }

  get(name: string): unknown {
    return this.#fields[name];
  }

  text(name: string): string {
    const value = this.#fields[name];
    if (typeof value !== "string") throw this.error(name, "is no text", "a text");
    return value;
  }

  textOr<Other>(name: string, other: Other): string | Other {
    return this.has(name) ? this.text(name) : other;
  }

  number(name: string): number {
    const value = this.#fields[name];
    if (typeof value !== "number" || !Number.isFinite(value)) throw this.error(name, "is no finite number", "a finite number");
    return value;
  }

  numberOr<Other>(name: string, other: Other): number | Other {
    return this.has(name) ? this.number(name) : other;
  }

  /** A whole number from 0 to `most`, also where it is written as a text. */
  index(name: string, most: number): number {
    const given = this.#fields[name];
    const value = typeof given === "string" && /^\d{1,10}$/.test(given) ? Number(given) : given;
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > most) throw this.error(name, "is out of range", `a whole number from 0 to ${most}`);
    return value;
  }

  /** Empty where the field is missing. */
  numbers(name: string): readonly number[] {
    return this.#list(name, (item) => typeof item === "number" && Number.isFinite(item), "a finite number") as readonly number[];
  }

  /** Empty where the field is missing. */
  texts(name: string): readonly string[] {
    return this.#list(name, (item) => typeof item === "string", "a text") as readonly string[];
  }

  /** @throws InputError unless two lists are equally long. */
  requirePairs(name: string, values: readonly unknown[], other: string, others: readonly unknown[]): void {
    if (values.length !== others.length) throw wrong(this.place, name, `and ${other} differ in length`, `${values.length} and ${others.length}`, "one for each");
  }

  #list(name: string, is: (item: unknown) => boolean, wanted: string): readonly unknown[] {
    const value = this.#fields[name];
    if (value === undefined || value === null) return [];
    if (!Array.isArray(value)) throw this.error(name, "is no list", "a list");
    const bad = value.findIndex((item) => !is(item));
    if (bad >= 0) throw wrong(this.place, `${name}[${bad}]`, `is not ${wanted}`, value[bad] as unknown, wanted);
    return value as readonly unknown[];
  }
}

/** The error for a field of a row. */
export function wrong({ file, at }: PeerPlace, field: string, problem: string, got: unknown, wanted: string): InputError {
  const where = field === "" ? at : `${at}, ${field}`;
  return new InputError(`${file}: ${where} ${problem}`, { file, field: where, got, wanted });
}

/** JSON text → value. @throws InputError that names the field at which the text goes wrong. */
export function parsePeerJson(text: string, place: PeerPlace): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const bare = /[[:,]\s*(-?(?:NaN|Infinity))\s*[,\]}]/.exec(text);
    const at = bare?.index ?? Number(/position (\d+)/.exec(String(error))?.[1] ?? 0);
    const field = [...text.slice(Math.max(0, at - 4_096), at + 1).matchAll(/"(\w+)"\s*:/g)].at(-1)?.[1] ?? "";
    throw wrong(place, field, bare === null ? "is no JSON" : "is not finite", bare?.[1] ?? text.slice(Math.max(0, at - 20), at + 20), bare === null ? "one JSON object" : "a finite number");
  }
}
