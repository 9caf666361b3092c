import { bytesOf, f32View, u16View, u32View } from "./bytes.ts";
import { bytesFromF32, f32FromBf16, f32FromF16 } from "./convert.ts";
import { InputError } from "./input-error.ts";

/** Numbers of the element types in `mistral_sae.common.v1.DataType`. */
export const WIRE_DTYPE = { F32: 1, F16: 2, BF16: 3, U32: 4, I64: 5, U8: 6, I32: 7, F64: 8 } as const;

/** Element types that carry activations on the wire. */
export type ActivationDType = "F32" | "F16" | "BF16";

/** Sparse activations of a run of rows (tokens), in memory. */
export interface SparseRows {
  readonly nTokens: number;
  /** Pairs a row when `rowOffsets` is absent; the SAE's k otherwise (0 where it has none). */
  readonly k: number;
  /** Width of the SAE; every index is below it. */
  readonly dSae: number;
  /** Feature of each pair. */
  readonly indices: Uint32Array;
  /** Activation of each pair. */
  readonly values: Float32Array;
  /** nTokens + 1 offsets into the pairs, when rows differ in length. */
  readonly rowOffsets?: Uint32Array | undefined;
}

/** The fields of `mistral_sae.common.v1.SparseCode`. */
export interface WireSparseCode {
  nTokens: number;
  k: number;
  dSae: number;
  featureIndices: Uint8Array;
  activations: Uint8Array;
  activationDtype: 1 | 2 | 3;
  rowOffsets?: Uint8Array;
}

/** First and one-past-last pair of row `row`. */
export function rowBounds(rows: SparseRows, row: number): readonly [number, number] {
  return rows.rowOffsets === undefined ? [row * rows.k, (row + 1) * rows.k] : [rows.rowOffsets[row]!, rows.rowOffsets[row + 1]!];
}

/**
 * Rows → wire fields. F32 values, indices and offsets are views of `rows`; half types are new memory.
 * Row offsets are left out when every row has k pairs. Asked for F16, it sends F32 when a value would overflow or vanish.
 */
export function packSparse(rows: SparseRows, dtype: ActivationDType = "F32"): WireSparseCode {
  const fits = dtype !== "F16" || fitsF16(rows.values);
  const sent: ActivationDType = fits ? dtype : "F32";
  const wire: WireSparseCode = {
    nTokens: rows.nTokens,
    k: rows.k,
    dSae: rows.dSae,
    featureIndices: bytesOf(rows.indices),
    activations: bytesFromF32(sent, rows.values),
    activationDtype: WIRE_DTYPE[sent],
  };
  if (rows.rowOffsets !== undefined && !evenRows(rows.rowOffsets, rows.k)) wire.rowOffsets = bytesOf(rows.rowOffsets);
  return wire;
}

const F16_LARGEST = 65519.99;
// Half of the least subnormal rounds to zero (to even), and so does everything below it.
const F16_VANISHES = 2 ** -25;

function fitsF16(values: Float32Array): boolean {
  for (let i = 0; i < values.length; i++) {
    const size = Math.abs(values[i]!);
    if (size > F16_LARGEST || (size <= F16_VANISHES && size !== 0)) return false;
  }
  return true;
}

function evenRows(offsets: Uint32Array, k: number): boolean {
  for (let i = 0; i < offsets.length; i++) if (offsets[i] !== i * k) return false;
  return true;
}

/** What `unpackSparse` reads: the message's fields, its dtype as any number. */
export interface WireSparseCodeInput extends Omit<WireSparseCode, "activationDtype" | "rowOffsets"> {
  activationDtype: number;
  rowOffsets?: Uint8Array | undefined;
}

/**
 * Wire fields → rows: views of the message's bytes where alignment allows, half types converted.
 * Throws InputError naming the field when sizes, offsets or indices contradict one another.
 */
export function unpackSparse(wire: WireSparseCodeInput): SparseRows {
  const pairs = unpackPairs(wire);
  return { ...pairs, values: activationValues(wire, pairs.indices.length) };
}

/** As {@link unpackSparse}, for readers that take the activations as they were sent: their size is checked, nothing is converted. */
export function unpackPairs(wire: WireSparseCodeInput): Omit<SparseRows, "values"> {
  const pairs = pairViews(wire);
  const { indices, dSae } = pairs;
  for (let i = 0; i < indices.length; i++) {
    if (indices[i]! >= dSae) throw new InputError("feature index out of range", { field: `feature_indices[${i}]`, got: indices[i], wanted: `below ${dSae}` });
  }
  return pairs;
}

/** As {@link unpackPairs}, for readers that look at each index themselves: whether it is below dSae is theirs to check. */
export function pairViews(wire: WireSparseCodeInput): Omit<SparseRows, "values"> {
  const { nTokens, k, dSae } = wire;
  const width = wire.activationDtype === WIRE_DTYPE.F32 ? 4 : 2;
  if (wire.activationDtype < WIRE_DTYPE.F32 || wire.activationDtype > WIRE_DTYPE.BF16) {
    throw new InputError("unknown type of activations", { field: "activation_dtype", got: wire.activationDtype, wanted: "F32 (1), F16 (2) or BF16 (3)" });
  }
  let pairs = nTokens * k;
  let rowOffsets: Uint32Array | undefined;
  if (wire.rowOffsets !== undefined) {
    requireBytes("row_offsets", wire.rowOffsets, (nTokens + 1) * 4);
    rowOffsets = u32View(wire.rowOffsets);
    if (rowOffsets[0] !== 0) throw new InputError("row offsets start at 0", { field: "row_offsets[0]", got: rowOffsets[0], wanted: 0 });
    for (let i = 1; i <= nTokens; i++) {
      if (rowOffsets[i]! < rowOffsets[i - 1]!) {
        throw new InputError("row offsets never fall", { field: `row_offsets[${i}]`, got: rowOffsets[i], wanted: `at least ${rowOffsets[i - 1]}` });
      }
    }
    pairs = rowOffsets[nTokens]!;
  }
  requireBytes("feature_indices", wire.featureIndices, pairs * 4);
  requireBytes("activations", wire.activations, pairs * width);
  return { nTokens, k, dSae, indices: u32View(wire.featureIndices), rowOffsets };
}

function activationValues(wire: WireSparseCodeInput, pairs: number): Float32Array {
  if (wire.activationDtype === WIRE_DTYPE.F32) return f32View(wire.activations);
  const bits = u16View(wire.activations);
  return wire.activationDtype === WIRE_DTYPE.F16 ? f32FromF16(bits, new Float32Array(pairs)) : f32FromBf16(bits, new Float32Array(pairs));
}

function requireBytes(field: string, bytes: Uint8Array, wanted: number): void {
  if (bytes.byteLength !== wanted) throw new InputError(`${field} has the wrong size`, { field, got: `${bytes.byteLength} bytes`, wanted: `${wanted} bytes` });
}
