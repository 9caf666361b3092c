import { extractErrorAtTheEndOfChunk } from "@clickhouse/client";

const MARKER = "__exception__";
// The server cuts the message so that the whole trailer stays below this.
const LONGEST_TRAILER = 17 << 10;

/**
 * A result's bytes without the trailer that ClickHouse writes when a query breaks off after its status was sent:
 * `\r\n__exception__\r\n<tag>\r\n<message>\n<length> <tag>\r\n__exception__\r\n`. Throws the error that it holds.
 * Keeps back the last 17 KiB until the end is known.
 */
export async function* exceptionGuard(chunks: AsyncIterable<Uint8Array>, tag: string): AsyncIterable<Uint8Array> {
  let held = Buffer.alloc(0);
  const brokenOff = (): boolean => tag !== "" && held.includes(`\r\n${MARKER}\r\n${tag}\r\n`);
  try {
    for await (const chunk of chunks) {
      held = held.length === 0 ? Buffer.from(chunk) : Buffer.concat([held, chunk]);
      if (held.length <= 4 * LONGEST_TRAILER) continue;
      yield held.subarray(0, held.length - LONGEST_TRAILER);
      held = held.subarray(held.length - LONGEST_TRAILER);
    }
  } catch (error) {
    // The server also cuts the connection, which may be noticed first.
    if (!brokenOff()) throw error;
  }
  if (brokenOff()) throw extractErrorAtTheEndOfChunk(held, tag);
  if (held.length > 0) yield held;
}
