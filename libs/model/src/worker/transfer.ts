import type { Transferable } from "node:worker_threads";

/**
 * The buffers to move when `value` is posted: every array that fills its buffer. Arrays that view part of a larger
 * buffer are cloned, buffer and all, so results should not hold any.
 */
export function transferables(value: unknown, found: Set<ArrayBuffer> = new Set<ArrayBuffer>()): Transferable[] {
  if (ArrayBuffer.isView(value)) {
    if (value.buffer instanceof ArrayBuffer && value.byteLength === value.buffer.byteLength && value.byteLength > 0) found.add(value.buffer);
  } else if (typeof value === "object" && value !== null) {
    for (const part of Object.values(value)) transferables(part, found);
  }
  return [...found];
}
