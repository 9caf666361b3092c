import { isUtf8 } from "node:buffer";
import { InputError } from "@mistral-sae/tensor";

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Decodes one line.
 * @throws InputError that names the first byte which is not UTF-8.
 */
export function decodeLine(bytes: Uint8Array, file: string, line: number): string {
  if (isUtf8(bytes)) return decoder.decode(bytes);
  const at = firstInvalid(bytes);
  const got = `byte 0x${(bytes[at] ?? 0).toString(16).padStart(2, "0")} at column ${at + 1}`;
  throw new InputError(`${file}:${line} is not UTF-8: ${got}`, { file, field: `line ${line}`, got, wanted: "UTF-8 text" });
}

/** Offset of the first byte that starts no character. */
function firstInvalid(bytes: Uint8Array): number {
  let at = 0;
  for (let size = 1; at < bytes.length; at += size) {
    size = characterBytes(bytes[at] ?? 0);
    if (!isUtf8(bytes.subarray(at, at + size))) break;
  }
  return at;
}

function characterBytes(lead: number): number {
  if (lead < 0xc0) return 1;
  if (lead < 0xe0) return 2;
  return lead < 0xf0 ? 3 : 4;
}
