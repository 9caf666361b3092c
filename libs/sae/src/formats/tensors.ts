import { InputError, missingTensor, type TensorSource } from "@mistral-sae/tensor";

/** Tensors by name, from a file of any kind. */
export interface NamedTensors {
  readonly tensors: ReadonlyMap<string, { readonly name: string; readonly shape: readonly number[] }>;
}

/** Shapes by tensor name. */
export type TensorTable = Readonly<Record<string, readonly number[]>>;

/**
 * Refuses a file whose tensors are not exactly those of `table` (and some of `optional`), each of its shape.
 * `because` says where the wanted shapes come from.
 */
export function requireTensors(source: NamedTensors, file: string, table: TensorTable, optional: TensorTable, because: string): void {
  for (const [name, tensor] of source.tensors) {
    const shape = table[name] ?? optional[name];
    if (shape === undefined) {
      throw new InputError(`unknown tensor "${name}"`, { file, field: name, got: `shape ${shapeText(tensor.shape)}`, wanted: `only ${Object.keys(table).join(", ")} (${because})` });
    }
    requireShape(tensor, file, shape, because);
  }
  for (const name of Object.keys(table)) if (!source.tensors.has(name)) throw missingTensor(name, file, source.tensors);
}

function requireShape(tensor: { readonly name: string; readonly shape: readonly number[] }, file: string, wanted: readonly number[], because: string): void {
  if (tensor.shape.length === wanted.length && tensor.shape.every((size, i) => size === wanted[i])) return;
  throw new InputError(`tensor "${tensor.name}" has the wrong shape`, {
    file,
    field: tensor.name,
    got: shapeText(tensor.shape),
    wanted: `${shapeText(wanted)} (${because})`,
  });
}

export function shapeText(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`;
}

// Rows of the stored matrix held at once while transposing: 16 MiB.
const TRANSPOSE_FLOATS = 1 << 22;

/** Reads a stored [rows, columns] matrix as its transpose [columns, rows], a block of rows at a time. */
export async function readTransposed(source: TensorSource, name: string, rows: number, columns: number): Promise<Float32Array> {
  const result = new Float32Array(rows * columns);
  const step = Math.max(1, Math.min(rows, Math.floor(TRANSPOSE_FLOATS / columns)));
  const block = new Float32Array(step * columns);
  for (let start = 0; start < rows; start += step) {
    const end = Math.min(rows, start + step);
    const target = block.subarray(0, (end - start) * columns);
    await source.readF32(name, { rows: { start, end }, target });
    for (let column = 0; column < columns; column++) {
      let to = column * rows + start;
      for (let from = column; from < target.length; from += columns) result[to++] = target[from]!;
    }
  }
  return result;
}

/** The transpose of a [rows, columns] matrix, in pieces of whole rows of the result. */
export function* transposedPieces(matrix: Float32Array, rows: number, columns: number): Generator<Float32Array> {
  const step = Math.max(1, Math.min(columns, Math.floor(TRANSPOSE_FLOATS / rows)));
  for (let start = 0; start < columns; start += step) {
    const end = Math.min(columns, start + step);
    const piece = new Float32Array((end - start) * rows);
    for (let row = 0; row < rows; row++) {
      let from = row * columns + start;
      for (let to = row; to < piece.length; to += rows) piece[to] = matrix[from++]!;
    }
    yield piece;
  }
}
