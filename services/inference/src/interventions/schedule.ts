import type { Schedule } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { invalidArgument } from "@mistral-sae/rpc";

/**
 * The factors g(0) … g(steps − 1) of a schedule, the last one held by the engine; undefined for the constant 1.
 *
 * @throws INVALID_ARGUMENT for a ramp of no length, a half-life of 0, no values, or a factor that is not finite.
 */
export function scheduleFactors(field: string, schedule: Schedule | undefined, steps: number): Float32Array | undefined {
  const kind = schedule?.schedule;
  if (kind?.case === undefined) return undefined;
  const g = factorOf(field, kind);
  const factors = Float32Array.from({ length: Math.max(steps, 1) }, (_, t) => g(t));
  const bad = factors.findIndex((factor) => !Number.isFinite(factor));
  if (bad >= 0) throw invalidArgument(field, `got the factor ${factors[bad]} at step ${bad}, wanted finite ones`, "VALUE_NOT_FINITE");
  return factors;
}

function factorOf(field: string, kind: Exclude<Schedule["schedule"], { case: undefined }>): (t: number) => number {
  switch (kind.case) {
    case "constant":
      return () => kind.value;
    case "linear":
    case "cosine": {
      const { start, end, steps } = kind.value;
      if (steps < 1) throw invalidArgument(`${field}.${kind.case}.steps`, `got ${steps}, wanted at least 1`);
      if (kind.case === "linear") return (t) => start + ((end - start) * Math.min(t, steps)) / steps;
      return (t) => end + ((start - end) * (1 + Math.cos((Math.PI * Math.min(t, steps)) / steps))) / 2;
    }
    case "decay": {
      const { halfLife } = kind.value;
      if (!(halfLife > 0)) throw invalidArgument(`${field}.decay.half_life`, `got ${halfLife}, wanted more than 0`);
      return (t) => 2 ** (-t / halfLife);
    }
    default: {
      const { factors } = kind.value;
      if (factors.length === 0) throw invalidArgument(`${field}.values.factors`, "got no factor, wanted at least 1");
      return (t) => factors[Math.min(t, factors.length - 1)] as number;
    }
  }
}
