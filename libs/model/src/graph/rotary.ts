import type { ModelConfig } from "../config/model-config.ts";
import type { Rope, RopeScaling } from "../config/rope-scaling.ts";

/** Cosines and sines of the rotary embedding, each [positions, dHead / 2]; value i of a head is paired with value i + dHead / 2. */
export interface RotaryTables {
  readonly positions: number;
  readonly half: number;
  readonly cos: Float32Array;
  readonly sin: Float32Array;
}

const { fround } = Math;

/**
 * The tables for positions 0 to `positions` − 1 (Su et al. 2021, arXiv 2104.09864). Frequencies and angles round to
 * float32 at the steps at which transformers' do; the factor that YaRN puts on the attention is multiplied in.
 */
export function rotaryTables(config: Pick<ModelConfig, "dHead" | "rope">, positions: number): RotaryTables {
  const half = config.dHead / 2;
  const { scaling } = config.rope;
  const factor = scaling.kind === "yarn" ? scaling.attentionFactor : 1;
  const frequencies = rotaryFrequencies(config.rope, config.dHead);
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let position = 0; position < positions; position++) {
    for (let i = 0; i < half; i++) {
      const angle = fround(position * (frequencies[i] ?? 0));
      cos[position * half + i] = Math.cos(angle) * factor;
      sin[position * half + i] = Math.sin(angle) * factor;
    }
  }
  return { positions, half, cos, sin };
}

/** [dHead / 2] Radians a position: theta^(−2i/dHead), scaled. */
export function rotaryFrequencies({ theta, scaling }: Rope, dHead: number): Float32Array {
  const scale = scalingOf(scaling, theta, dHead);
  return Float32Array.from({ length: dHead / 2 }, (_, i) => scale(fround(theta ** fround((2 * i) / dHead)), i));
}

/** From 1/frequency and its index to the scaled frequency. */
type Scale = (inverse: number, i: number) => number;

function scalingOf(scaling: RopeScaling, theta: number, dHead: number): Scale {
  switch (scaling.kind) {
    case "linear":
      return (inverse) => fround(fround(1 / inverse) / scaling.factor);
    case "llama3":
      return llama3(scaling);
    case "yarn":
      return yarn(scaling, theta, dHead);
    default:
      return (inverse) => fround(1 / inverse);
  }
}

/** Llama 3.1: low frequencies are divided by the factor, high ones stay, those between are mixed. */
function llama3({ factor, lowFreqFactor, highFreqFactor, originalMaxPositions }: Extract<RopeScaling, { kind: "llama3" }>): Scale {
  return (inverse) => {
    const frequency = fround(1 / inverse);
    const wavelength = fround((2 * Math.PI) / frequency);
    if (wavelength < originalMaxPositions / highFreqFactor) return frequency;
    if (wavelength > originalMaxPositions / lowFreqFactor) return fround(frequency / factor);
    const smooth = fround((originalMaxPositions / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor));
    return fround(((1 - smooth) * frequency) / factor + smooth * frequency);
  };
}

/** YaRN (Peng et al. 2023, arXiv 2309.00071, section 3.2): a ramp over the frequencies from unchanged to divided by the factor. */
function yarn({ factor, originalMaxPositions, betaFast, betaSlow, truncate }: Extract<RopeScaling, { kind: "yarn" }>, theta: number, dHead: number): Scale {
  const indexOf = (rotations: number): number => (dHead * Math.log(originalMaxPositions / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  const low = Math.max(truncate ? Math.floor(indexOf(betaFast)) : indexOf(betaFast), 0);
  const high = Math.min(truncate ? Math.ceil(indexOf(betaSlow)) : indexOf(betaSlow), dHead - 1);
  // Equal bounds make a step; the width is the one that transformers gives it.
  const width = high === low ? 0.001 : high - low;
  return (inverse, i) => {
    const kept = fround(1 - Math.min(Math.max(fround((i - low) / width), 0), 1));
    return fround(fround(1 / fround(factor * inverse)) * (1 - kept) + fround(1 / inverse) * kept);
  };
}
