import { FinishReason } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { Outcome, Told } from "./play.ts";

/** Margins below it say nothing about which of two tokens is the right one, nats. */
const CLOSE = 1e-4;

export interface Verdict {
  /** What differs without excuse. */
  readonly faults: readonly string[];
  /** Variants that part where two tokens are as good as equally likely. */
  readonly close: number;
}

/** Holds what a busy service gave against what the request gives alone; what was cut short is held as far as it goes. */
export function compare(got: Outcome, alone: Outcome, cutShort: boolean): Verdict {
  const faults: string[] = [];
  let close = 0;
  const ends = cutShort && (got.end.startsWith("Canceled") || got.end.startsWith("DeadlineExceeded"));
  if (got.end !== alone.end && !ends) faults.push(`ended ${got.end}, alone ${alone.end}`);
  for (const [id, variant] of got.variants) {
    const wanted = alone.variants.get(id);
    if (wanted === undefined) {
      faults.push(`${id} is not there alone`);
      continue;
    }
    const at = variant.tokens.findIndex((token, i) => token !== wanted.tokens[i]);
    if (at >= 0) {
      // A margin is that of the likeliest two; a drawn token parts where the draw falls between two of any.
      if ((wanted.margins[at] ?? 0) < CLOSE) close++;
      else faults.push(`${id} parts at step ${at}: got ${variant.tokens[at]}, alone ${wanted.tokens[at]}, margin ${wanted.margins[at]}`);
      continue;
    }
    faults.push(...restOf(id, variant, wanted));
  }
  return { faults, close };
}

function restOf(id: string, got: Told, alone: Told): string[] {
  const faults: string[] = [];
  for (const [i, kl] of got.kl.entries()) {
    const wanted = alone.kl[i];
    const same = kl === undefined || wanted === undefined ? kl === wanted : Math.abs(kl - wanted) <= 1e-4 + 1e-3 * Math.abs(wanted);
    if (!same) {
      faults.push(`${id} step ${i}: KL ${kl}, alone ${wanted}`);
      break;
    }
  }
  if (got.finish === FinishReason.UNSPECIFIED) return faults;
  for (const field of ["text", "finish", "appliedSteps"] as const) if (got[field] !== alone[field]) faults.push(`${id} ${field}: ${got[field]}, alone ${alone[field]}`);
  if (got.tokens.length !== alone.tokens.length) faults.push(`${id}: ${got.tokens.length} tokens, alone ${alone.tokens.length}`);
  return faults;
}
