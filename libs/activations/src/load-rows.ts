import { createHash } from "node:crypto";
import { basename } from "node:path";
import { InputError } from "@mistral-sae/tensor";
import { openStore, rowBytes, type RowFile } from "./row-file.ts";

const DAMAGE = "sha256";

/**
 * Reads all rows of a file into memory of their own, in the file's element type.
 * @throws InputError naming the file when it is too short or its bytes do not have the SHA-256 that was recorded.
 */
export async function loadRows(file: RowFile, verify = true): Promise<Uint8Array> {
  const bytes = new Uint8Array(rowBytes(file));
  try {
    await openStore(file.store).get(file.key, { start: file.byteOffset, length: bytes.length }, bytes);
  } catch (error) {
    throw file.sha256 !== undefined && error instanceof InputError ? damaged(file, error.message) : error;
  }
  if (verify && file.sha256 !== undefined) {
    const got = createHash("sha256").update(bytes).digest("hex");
    if (got !== file.sha256) throw damaged(file, got);
  }
  return bytes;
}

/** Shard folder and index of an error that says that a shard's rows are missing or damaged; undefined of another error. */
export function damagedShard(error: unknown): { readonly folder: string; readonly index: number } | undefined {
  if (!(error instanceof InputError) || error.field !== DAMAGE || error.file === undefined) return undefined;
  const index = /^shard-(\d+)\.rows$/.exec(basename(error.file))?.[1];
  return index === undefined ? undefined : { folder: basename(error.file.slice(0, -basename(error.file).length - 1)), index: Number(index) };
}

function damaged(file: RowFile, got: string): InputError {
  return new InputError(`the rows of ${file.key} are damaged`, { file: `${file.store.root}/${file.key}`, field: DAMAGE, got, wanted: file.sha256 });
}
