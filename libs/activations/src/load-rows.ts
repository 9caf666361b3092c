import { createHash } from "node:crypto";
import { InputError } from "@mistral-sae/tensor";
import { openStore, rowBytes, type RowFile } from "./row-file.ts";

/**
 * Reads all rows of a file into memory of their own, in the file's element type.
 * @throws InputError when the file is too short or its bytes do not have the SHA-256 that was recorded.
 */
export async function loadRows(file: RowFile, verify = true): Promise<Uint8Array> {
  const bytes = new Uint8Array(rowBytes(file));
  await openStore(file.store).get(file.key, { start: file.byteOffset, length: bytes.length }, bytes);
  if (verify && file.sha256 !== undefined) {
    const got = createHash("sha256").update(bytes).digest("hex");
    if (got !== file.sha256) {
      throw new InputError(`the rows of ${file.key} are damaged`, { file: `${file.store.root}/${file.key}`, field: "sha256", got, wanted: file.sha256 });
    }
  }
  return bytes;
}
