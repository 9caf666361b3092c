import { extractErrorAtTheEndOfChunk } from "@clickhouse/client";

const MARKER = "__exception__";

/**
 * A result's bytes without the trailer that ClickHouse writes when a query breaks off after its status was sent:
 * `\r\n__exception__\r\n<tag>\r\n<message>\n<length> <tag>\r\n__exception__\r\n`. Throws the error that it holds.
 * Bytes go on as they come; only what may be the trailer's beginning is kept back.
 */
export async function* exceptionGuard(chunks: AsyncIterable<Uint8Array>, tag: string): AsyncIterable<Uint8Array> {
  const opening = Buffer.from(`\r\n${MARKER}\r\n${tag}\r\n`);
  let held: Buffer = Buffer.alloc(0);
  let broken = false;
  try {
    for await (const chunk of chunks) {
      held = held.length === 0 ? Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength) : Buffer.concat([held, chunk]);
      if (broken) continue;
      const at = tag === "" ? -1 : held.indexOf(opening);
      broken = at >= 0;
      const end = broken ? at : held.length - (tag === "" ? 0 : overlap(held, opening));
      if (end > 0) yield held.subarray(0, end);
      held = held.subarray(end);
    }
  } catch (error) {
    // The server also cuts the connection, which may be noticed first.
    if (!broken) throw error;
  }
  if (broken) throw extractErrorAtTheEndOfChunk(held, tag);
  if (held.length > 0) yield held;
}

/** How many bytes at the end of `bytes` could begin `wanted`. */
function overlap(bytes: Buffer, wanted: Buffer): number {
  const tail = bytes.subarray(Math.max(0, bytes.length - wanted.length + 1));
  for (let from = tail.indexOf(13); from >= 0; from = tail.indexOf(13, from + 1)) {
    if (wanted.subarray(0, tail.length - from).equals(tail.subarray(from))) return tail.length - from;
  }
  return 0;
}
