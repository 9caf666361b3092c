import { InputError } from "@mistral-sae/tensor";

/** One line of a file, without its line feed. The bytes are a view, valid until the next line is asked for. */
export interface Line {
  readonly bytes: Uint8Array;
  /** 1-based. */
  readonly number: number;
}

/** A line longer than this is taken for a file of another kind; it bounds what a reader holds. */
const LONGEST_LINE = 256 << 20;
const LINE_FEED = 10;
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf] as const;

/** Cuts a stream of bytes at line feeds. @throws InputError on a line of more than 256 MiB. */
export async function* splitLines(chunks: AsyncIterable<Uint8Array>, file: string): AsyncIterable<Line> {
  let number = 1;
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, start)) {
      held.push(chunk.subarray(start, end));
      yield { bytes: withoutMark(joined(held), number), number };
      held = [];
      heldBytes = 0;
      number += 1;
      start = end + 1;
    }
    held.push(chunk.subarray(start));
    heldBytes += chunk.length - start;
    if (heldBytes > LONGEST_LINE) {
      throw new InputError(`${file}:${number} is longer than 256 MiB`, { file, field: `line ${number}`, got: `${heldBytes} bytes without a line feed`, wanted: "at most 268435456 bytes" });
    }
  }
  const rest = withoutMark(joined(held), number);
  if (rest.length > 0) yield { bytes: rest, number };
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const [only] = pieces;
  return only !== undefined && pieces.length === 1 ? only : Buffer.concat(pieces);
}

function withoutMark(bytes: Uint8Array, number: number): Uint8Array {
  return number === 1 && BYTE_ORDER_MARK.every((byte, at) => bytes[at] === byte) ? bytes.subarray(BYTE_ORDER_MARK.length) : bytes;
}
