import type { ModelConfig } from "../config/model-config.ts";

/** Cosines and sines of the rotary embedding, each [positions, dHead / 2]. */
export interface RotaryTables {
  readonly positions: number;
  readonly half: number;
  readonly cos: Float32Array;
  readonly sin: Float32Array;
}

/**
 * The tables for positions 0 to `positions` − 1. Frequency i is theta^(−2i/dHead) (Su et al. 2021, arXiv 2104.09864);
 * frequencies and angles round to float32 as transformers' do.
 */
export function rotaryTables(config: Pick<ModelConfig, "dHead" | "ropeTheta">, positions: number): RotaryTables {
  const half = config.dHead / 2;
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let i = 0; i < half; i++) {
    const frequency = Math.fround(1 / config.ropeTheta ** ((2 * i) / config.dHead));
    for (let position = 0; position < positions; position++) {
      const angle = Math.fround(position * frequency);
      cos[position * half + i] = Math.cos(angle);
      sin[position * half + i] = Math.sin(angle);
    }
  }
  return { positions, half, cos, sin };
}
