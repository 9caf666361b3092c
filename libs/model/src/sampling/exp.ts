const STEPS = 64;
const STEPS_PER_UNIT = STEPS * Math.LOG2E;
const STEP = Math.LN2 / STEPS;
/** Below it e^x counts as 0: 1e-304 of the likeliest token. */
const LEAST = -700;
/** 2^(i / 64) */
const fractions = Float64Array.from({ length: STEPS }, (_, i) => 2 ** (i / STEPS));
/** 2^(i − 1022) */
const powers = Float64Array.from({ length: 1023 }, (_, i) => 2 ** (i - 1022));

/**
 * e^x for x ≤ 0, relative error below 4e-11; 0 below −700 and for NaN. More than twice as fast as Math.exp, which
 * matters because every step of every sequence takes one for each token. 2^(m/64) from two tables, times Taylor's
 * series of the rest, at most ln 2 / 128.
 */
export function expNonPositive(x: number): number {
  if (!(x > LEAST)) return 0;
  const m = (x * STEPS_PER_UNIT - 0.5) | 0;
  const r = x - m * STEP;
  return (1 + r * (1 + r * (1 / 2 + r * (1 / 6)))) * fractions[m & (STEPS - 1)]! * powers[(m >> 6) + 1022]!;
}
