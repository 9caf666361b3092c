/**
 * The k largest values of `row` in descending order, written to `indices` and `values` from `at`.
 *
 * Exact; equal values keep the lower index first; NaN is never chosen. Returns how many were written:
 * k, or fewer when the row has fewer numbers.
 */
export function topK(row: Float32Array, k: number, indices: Uint32Array, values: Float32Array, at = 0): number {
  let size = 0;
  let next = 0;
  for (; next < row.length && size < k; next++) {
    const value = row[next]!;
    if (Number.isNaN(value)) continue;
    indices[at + size] = next;
    values[at + size] = value;
    size++;
  }
  for (let root = (size >>> 1) - 1; root >= 0; root--) sink(indices, values, at, root, size);
  if (size === k && k > 0) {
    let floor = values[at]!;
    for (; next < row.length; next++) {
      const value = row[next]!;
      if (value > floor) {
        indices[at] = next;
        values[at] = value;
        sink(indices, values, at, 0, size);
        floor = values[at]!;
      }
    }
  }
  for (let end = size - 1; end > 0; end--) {
    const index = indices[at]!;
    const value = values[at]!;
    indices[at] = indices[at + end]!;
    values[at] = values[at + end]!;
    indices[at + end] = index;
    values[at + end] = value;
    sink(indices, values, at, 0, end);
  }
  return size;
}

// A heap with the pair to drop first at its root: the least value, and of equals the highest index.
function sink(indices: Uint32Array, values: Float32Array, at: number, start: number, size: number): void {
  const index = indices[at + start]!;
  const value = values[at + start]!;
  let hole = start;
  for (;;) {
    let child = 2 * hole + 1;
    if (child >= size) break;
    if (child + 1 < size && before(values[at + child + 1]!, indices[at + child + 1]!, values[at + child]!, indices[at + child]!)) child++;
    if (!before(values[at + child]!, indices[at + child]!, value, index)) break;
    values[at + hole] = values[at + child]!;
    indices[at + hole] = indices[at + child]!;
    hole = child;
  }
  values[at + hole] = value;
  indices[at + hole] = index;
}

function before(value: number, index: number, otherValue: number, otherIndex: number): boolean {
  return value < otherValue || (value === otherValue && index > otherIndex);
}
