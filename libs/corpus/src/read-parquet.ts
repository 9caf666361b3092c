import { isUtf8 } from "node:buffer";
import { open, type FileHandle } from "node:fs/promises";
import { InputError } from "@mistral-sae/tensor";
import { parquetMetadataAsync, parquetReadObjects, type AsyncBuffer, type FileMetaData } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import type { RawDocument, RecordFields } from "./document.ts";
import { documentOf } from "./record.ts";

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * One document a row, row group after row group: memory is bounded by the text of the largest group.
 * @throws InputError when the file is no whole parquet file, lacks the text column, or holds a row without text.
 */
export async function* readParquet(file: string, fields: RecordFields): AsyncIterable<RawDocument> {
  const handle = await open(file, "r");
  try {
    const buffer = rangesOf(handle, (await handle.stat()).size);
    const metadata = await decoded(file, "footer", () => parquetMetadataAsync(buffer));
    const columns = columnsOf(metadata, fields, file);
    let rowStart = 0;
    for (const group of metadata.row_groups) {
      const rowEnd = rowStart + Number(group.num_rows);
      const where = `rows ${rowStart + 1} to ${rowEnd}`;
      const rows = await decoded(file, where, () => parquetReadObjects({ file: buffer, metadata, columns, rowStart, rowEnd, compressors, parsers: { stringFromBytes } }));
      if (rows.length !== rowEnd - rowStart) throw damaged(file, where, `${rows.length} rows`, `${rowEnd - rowStart} rows`);
      for (const [at, row] of rows.entries()) {
        const number = rowStart + at + 1;
        for (const column of columns) {
          if (row[column] === NOT_UTF8) throw damaged(file, `row ${number}: ${column}`, "bytes that are not UTF-8", "UTF-8 text");
        }
        yield documentOf(row, fields, file, number, `row ${number}`);
      }
      rowStart = rowEnd;
    }
  } finally {
    await handle.close();
  }
}

/** Stands for a string's value until its row is known. */
const NOT_UTF8 = Symbol("not UTF-8");

function stringFromBytes(bytes: Uint8Array | undefined): string | typeof NOT_UTF8 | undefined {
  if (bytes === undefined) return undefined;
  return isUtf8(bytes) ? decoder.decode(bytes) : NOT_UTF8;
}

function columnsOf(metadata: FileMetaData, fields: RecordFields, file: string): string[] {
  const present = topLevelColumns(metadata);
  const column = (field: string): string => (present.includes(field) ? field : (field.split(".")[0] ?? field));
  const text = column(fields.textField);
  const sources = fields.sourceFields.map((field) => [column(field), field, fields.sourceRequired] as const);
  const kept = fields.metadataFields.flatMap((field) => (field === "*" ? present.map((name) => [name, name] as const) : [[column(field), field] as const]));
  for (const [name, field, required] of [[text, fields.textField, true], ...sources, ...kept.map(([name, field]) => [name, field, true] as const)] as const) {
    if (required && !present.includes(name)) {
      throw new InputError(`${file} has no column ${JSON.stringify(field)}`, { file, field, got: present.join(", "), wanted: `a column ${JSON.stringify(field)}` });
    }
  }
  return [...new Set([text, ...sources.map(([name]) => name), ...kept.map(([name]) => name)])].filter((name) => present.includes(name));
}

/** The schema is a depth-first list; the root's direct children are the columns of a row. */
function topLevelColumns(metadata: FileMetaData): string[] {
  const [root, ...elements] = metadata.schema;
  const names: string[] = [];
  let at = 0;
  const skip = (): void => {
    const element = elements[at];
    at += 1;
    for (let child = element?.num_children ?? 0; child > 0; child -= 1) skip();
  };
  for (let column = root?.num_children ?? 0; column > 0 && at < elements.length; column -= 1) {
    names.push(elements[at]?.name ?? "");
    skip();
  }
  return names;
}

async function decoded<T>(file: string, where: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw damaged(file, where, error instanceof Error ? error.message : String(error), "a whole parquet file");
  }
}

function damaged(file: string, where: string, got: string, wanted: string): InputError {
  return new InputError(`${file}, ${where}: ${got}`, { file, field: where, got, wanted });
}

function rangesOf(handle: FileHandle, byteLength: number): AsyncBuffer {
  return {
    byteLength,
    async slice(start: number, end: number = byteLength): Promise<ArrayBuffer> {
      const bytes = new Uint8Array(Math.max(0, end - start));
      let read = 0;
      while (read < bytes.length) {
        const { bytesRead } = await handle.read(bytes, read, bytes.length - read, start + read);
        if (bytesRead === 0) throw new Error(`the file ends at byte ${start + read} of a range that ends at ${end}`);
        read += bytesRead;
      }
      return bytes.buffer;
    },
  };
}
