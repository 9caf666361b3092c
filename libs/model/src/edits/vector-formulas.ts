/**
 * Changes the row h = x[at, at + d) in place and returns ‖h' − h‖. `factor` is the schedule's g(t). A formula that finds
 * nothing to change writes nothing.
 */
export type RowFormula = (x: Float32Array, at: number, factor: number) => number;

function dot(x: Float32Array, at: number, v: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < v.length; i++) sum += x[at + i]! * v[i]!;
  return sum;
}

function norm(x: Float32Array, at: number, d: number): number {
  let squares = 0;
  for (let i = at; i < at + d; i++) squares += x[i]! ** 2;
  return Math.sqrt(squares);
}

/** h + c v, ‖v‖ given. */
function step(x: Float32Array, at: number, v: Float32Array, length: number, c: number): number {
  if (c === 0) return 0;
  for (let i = 0; i < v.length; i++) x[at + i] = x[at + i]! + c * v[i]!;
  return Math.abs(c) * length;
}

/** ‖v‖ */
export function length(v: Float32Array): number {
  return norm(v, 0, v.length);
}

/** v / ‖v‖ */
export function unit(v: Float32Array): Float32Array {
  const scale = 1 / length(v);
  return v.map((value) => value * scale);
}

/** h + s v */
export function add(v: Float32Array, s: number): RowFormula {
  const size = length(v);
  return (x, at, factor) => step(x, at, v, size, s * factor);
}

/** h + s ‖h‖ u */
export function addFraction(u: Float32Array, s: number): RowFormula {
  return (x, at, factor) => step(x, at, u, 1, s * factor * norm(x, at, u.length));
}

/** q = s ‖h‖ v; h + q · min(1, maxFraction ‖h‖ / ‖q‖) */
export function normScaledAdd(v: Float32Array, s: number, maxFraction: number): RowFormula {
  const size = length(v);
  return (x, at, factor) => {
    const row = norm(x, at, v.length);
    const c = s * factor * row;
    const longest = maxFraction * row;
    return step(x, at, v, size, Math.abs(c) * size > longest ? (Math.sign(c) * longest) / size : c);
  };
}

/** h + (s' − 1)(h·u) u, s' = 1 + (s − 1) g */
export function orthogonal(u: Float32Array, s: number): RowFormula {
  return (x, at, factor) => step(x, at, u, 1, (s - 1) * factor * dot(x, at, u));
}

/** h + (clip(h·u, min, max) − h·u) u */
export function projectionCap(u: Float32Array, min: number, max: number): RowFormula {
  return (x, at) => {
    const projection = dot(x, at, u);
    return step(x, at, u, 1, Math.min(Math.max(projection, min), max) - projection);
  };
}

/** h + (h·u)(w − u) */
export function swap(u: Float32Array, w: Float32Array): RowFormula {
  const change = w.map((value, i) => value - u[i]!);
  const size = length(change);
  return (x, at) => step(x, at, change, size, dot(x, at, u));
}

/** s v in place of the row */
export function replace(v: Float32Array, s: number): RowFormula {
  return (x, at, factor) => {
    let squares = 0;
    for (let i = 0; i < v.length; i++) {
      const value = Math.fround(s * factor * v[i]!);
      squares += (value - x[at + i]!) ** 2;
      x[at + i] = value;
    }
    return Math.sqrt(squares);
  };
}
