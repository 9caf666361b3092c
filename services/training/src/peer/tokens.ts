/** A document as the model's tokenizer cuts it. */
export interface Tokens {
  /** Ids without BOS. */
  readonly ids: Uint32Array;
  /** 1 for special tokens; undefined when there are none. */
  readonly special: Uint8Array | undefined;
}

/** One sequence as the model reads it: BOS, if the model has one, and a window of a document. */
export interface Window {
  readonly ids: Uint32Array;
  /** 1 for rows that are neither trained on nor measured: BOS and other special tokens. [ids.length] */
  readonly special: Uint8Array;
  /** Ordinal of the document. */
  readonly docId: number;
  /** 1 when the first token is a BOS that the document does not have. */
  readonly bos: 0 | 1;
  /** Position in the document of the first token after BOS. */
  readonly position: number;
}

/** Bit `at` of a TokenSequence's is_special. */
export function isSpecial(bits: Uint8Array, at: number): boolean {
  return (((bits[at >> 3] ?? 0) >> (at & 7)) & 1) !== 0;
}

/** Flags as bits, least significant first. */
export function packBits(flags: Uint8Array): Uint8Array {
  const bits = new Uint8Array((flags.length + 7) >> 3);
  for (let at = 0; at < flags.length; at += 1) if (flags[at] !== 0) bits[at >> 3] = (bits[at >> 3] ?? 0) | (1 << (at & 7));
  return bits;
}

/** Rows of a window that count. */
export function rowsOf(window: Window): number {
  let rows = 0;
  for (const flag of window.special) rows += 1 - flag;
  return rows;
}
