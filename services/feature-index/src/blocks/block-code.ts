import { bf16FromF32, u16View, unpackPairs, unpackSparse, WIRE_DTYPE, type WireSparseCodeInput } from "@mistral-sae/tensor";

/** The code of some tokens, one row a token. */
export interface BlockCode {
  readonly nTokens: number;
  /** Pairs a row when `rowOffsets` is absent. */
  readonly k: number;
  readonly dSae: number;
  readonly indices: Uint32Array;
  /** bfloat16 bits. */
  readonly acts: Uint16Array;
  /** The activations before they were rounded; absent where nobody keeps them. */
  readonly values?: Float32Array;
  readonly rowOffsets: Uint32Array | undefined;
}

/** A message's code with its activations as bfloat16, and unrounded too where asked for. Views of the message's bytes where they can be. @throws InputError as `unpackSparse`. */
export function blockCode(code: WireSparseCodeInput, keepFloat32 = false): BlockCode {
  if (code.activationDtype === WIRE_DTYPE.BF16 && !keepFloat32) return { rowOffsets: undefined, ...unpackPairs(code), acts: u16View(code.activations) };
  const { values, ...pairs } = unpackSparse(code);
  const acts = bf16FromF32(values, new Uint16Array(values.length));
  return { rowOffsets: undefined, ...pairs, acts, ...(keepFloat32 ? { values } : {}) };
}

/** First and one-past-last pair of a row. */
export function pairsOf({ rowOffsets, k }: BlockCode, row: number): readonly [number, number] {
  return rowOffsets === undefined ? [row * k, (row + 1) * k] : [rowOffsets[row] as number, rowOffsets[row + 1] as number];
}
