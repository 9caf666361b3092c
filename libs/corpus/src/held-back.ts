import { createHash } from "node:crypto";

/** One document in this many is held back. */
export const HELD_BACK_EVERY = 20n;

/**
 * Whether a document is never trained on and kept for evaluation: the first 8 bytes of the SHA-256 of its
 * UTF-8 text, as a big-endian number, divide by 20. The text alone decides, so copies of a text share its
 * side and no order of files moves it.
 */
export function isHeldBack(text: string): boolean {
  return createHash("sha256").update(text, "utf8").digest().readBigUInt64BE(0) % HELD_BACK_EVERY === 0n;
}
