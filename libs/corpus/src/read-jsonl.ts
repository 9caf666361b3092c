import { InputError } from "@mistral-sae/tensor";
import type { RawDocument, RecordFields } from "./document.ts";
import { splitLines } from "./lines.ts";
import { documentOf } from "./record.ts";
import { decodeLine } from "./utf8.ts";

/** One document a line. Lines of white space alone hold no record. @throws InputError naming file and line. */
export async function* readJsonl(chunks: AsyncIterable<Uint8Array>, file: string, fields: RecordFields): AsyncIterable<RawDocument> {
  for await (const line of splitLines(chunks, file)) {
    const text = decodeLine(line.bytes, file, line.number);
    if (text.trim() === "") continue;
    yield documentOf(parse(text, file, line.number), fields, file, line.number, `line ${line.number}`);
  }
}

function parse(text: string, file: string, line: number): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const got = text.length > 80 ? `${text.slice(0, 80)}…` : text;
    throw new InputError(`${file}:${line} is not JSON: ${reason}`, { file, field: `line ${line}`, got, wanted: "one JSON object a line" });
  }
}
