/** How the numbers of a list are written again from their Float32: see `imported_rows.values_form`. */
export type ValueForm = 0 | 1 | 2;

const f32 = new Float32Array(1);

/** The number that the shortest decimals naming a Float32 make. */
export function shortestOf(value: number): number {
  f32[0] = value;
  for (let digits = 6; digits < 10; digits++) {
    const shortest = Number(value.toPrecision(digits));
    if (Math.fround(shortest) === f32[0]) return shortest;
  }
  return value;
}

/** The form in which Float32 values give back the numbers given. */
export function formOf(values: readonly number[]): ValueForm {
  // Most values are 0, which all forms have.
  if (values.every((value) => value === 0 || shortestOf(Math.fround(value)) === value)) return 0;
  return values.every((value) => Math.fround(value) === value) ? 1 : 2;
}

/** A Float32 as the number that was given. */
export function inForm(value: number, form: ValueForm): number {
  return form === 0 ? shortestOf(value) : value;
}
