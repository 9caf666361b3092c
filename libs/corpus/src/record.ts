import { InputError } from "@mistral-sae/tensor";
import type { RawDocument, RecordFields } from "./document.ts";

/**
 * Takes text and source out of one record of jsonl or parquet.
 * @param where What to call the record's place in an error, e.g. `line 12`.
 * @throws InputError when the text is missing, not a string or not well-formed Unicode.
 */
export function documentOf(record: unknown, fields: RecordFields, file: string, line: number, where: string): RawDocument {
  const text = fieldOf(record, fields.textField);
  if (typeof text !== "string") throw wrongField(file, where, fields.textField, describe(text, record));
  if (!text.isWellFormed()) throw wrongField(file, where, fields.textField, "half of a surrogate pair");
  const sources = fields.sourceFields.map((name) => fieldOf(record, name));
  const source = sources.find((value) => typeof value === "string");
  if (source === undefined && fields.sourceRequired) throw wrongField(file, where, fields.sourceFields.join(", "), describe(sources[0], record));
  return { text, source, line, metadata: metadataOf(record, fields, file, where) };
}

/** The fields that are kept, under the names by which they were asked for; a record that lacks one leaves it out. */
function metadataOf(record: unknown, { textField, metadataFields }: RecordFields, file: string, where: string): string {
  if (metadataFields.length === 0) return "";
  const names = metadataFields.flatMap((name) => (name === "*" && typeof record === "object" && record !== null ? Object.keys(record) : [name]));
  const kept = names.filter((name) => name !== textField).map((name) => [name, fieldOf(record, name)] as const);
  const text = textField.split(".");
  return JSON.stringify(Object.fromEntries(kept), function (this: unknown, key, value: unknown) {
    // The text itself may lie inside an object that is kept.
    if (text.length > 1 && key === text.at(-1) && this === fieldOf(record, text.slice(0, -1).join("."))) return undefined;
    if (typeof value === "symbol") throw wrongField(file, where, key, "bytes that are not UTF-8");
    return jsonValue(value);
  });
}

/** What JSON has no form for: numbers beyond 2^53 and bytes, of parquet. */
function jsonValue(value: unknown): unknown {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  return value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value;
}

function fieldOf(record: unknown, path: string): unknown {
  let value: unknown = record;
  const whole = ownField(record, path);
  if (whole !== undefined) return whole;
  for (const name of path.split(".")) value = ownField(value, name);
  return value;
}

function ownField(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

function wrongField(file: string, where: string, field: string, got: string): InputError {
  return new InputError(`${file}, ${where}: field ${JSON.stringify(field)} is ${got}`, { file, field: `${where}: ${field}`, got, wanted: "a string" });
}

function describe(value: unknown, record: unknown): string {
  if (value === undefined) {
    if (typeof record !== "object" || record === null || Array.isArray(record)) return `missing: the record is ${kind(record)}`;
    const names = Object.keys(record).slice(0, 8).map((name) => JSON.stringify(name));
    return `missing; the record has ${names.length === 0 ? "no fields" : names.join(", ")}`;
  }
  return kind(value);
}

function kind(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}: ${JSON.stringify(value) ?? typeof value}`;
}
