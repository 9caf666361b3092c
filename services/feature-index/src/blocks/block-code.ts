import { bf16FromF32, u16View, unpackSparse, WIRE_DTYPE, type WireSparseCodeInput } from "@mistral-sae/tensor";

/** The code of some tokens, one row a token. */
export interface BlockCode {
  readonly nTokens: number;
  /** Pairs a row when `rowOffsets` is absent. */
  readonly k: number;
  readonly dSae: number;
  readonly indices: Uint32Array<ArrayBuffer>;
  /** bfloat16 bits. */
  readonly acts: Uint16Array<ArrayBuffer>;
  /** The activations before they were rounded; absent where nobody keeps them. */
  readonly values?: Float32Array<ArrayBuffer>;
  readonly rowOffsets: Uint32Array | undefined;
}

/** A message's code with its activations as bfloat16, and unrounded too where asked for. Views of the message's bytes where they can be. @throws InputError as `unpackSparse`. */
export function blockCode(code: WireSparseCodeInput, keepFloat32 = false): BlockCode {
  const rows = unpackSparse(code);
  const acts = code.activationDtype === WIRE_DTYPE.BF16 ? u16View(code.activations) : bf16FromF32(rows.values, new Uint16Array(rows.values.length));
  const values = keepFloat32 ? { values: rows.values as Float32Array<ArrayBuffer> } : {};
  return { nTokens: rows.nTokens, k: rows.k, dSae: rows.dSae, indices: rows.indices as Uint32Array<ArrayBuffer>, acts: acts as Uint16Array<ArrayBuffer>, ...values, rowOffsets: rows.rowOffsets };
}

/** First and one-past-last pair of a row. */
export function pairsOf({ rowOffsets, k }: BlockCode, row: number): readonly [number, number] {
  return rowOffsets === undefined ? [row * k, (row + 1) * k] : [rowOffsets[row] as number, rowOffsets[row + 1] as number];
}
