/** Precisions of the weights that are compared; arithmetic and caches as each contender has them. */
export const precisions = ["f32", "q8", "q4"] as const;

export type Precision = (typeof precisions)[number];

/** One turn's work. Token ids are random; steps are greedy. */
export type Work =
  /** `steps` batched decoding steps after a past of `past` tokens, which is not timed. */
  | { readonly work: "decode"; readonly batch: number; readonly past: number; readonly steps: number; readonly hooked?: DecodeHook }
  /** A prompt to its first token, `times` over. */
  | { readonly work: "prefill"; readonly batch: number; readonly tokens: number; readonly times: number }
  /** Residuals after layer `layer` of `batch` sequences, `times` over; nothing behind it runs. */
  | { readonly work: "harvest"; readonly batch: number; readonly tokens: number; readonly times: number; readonly layer: number };

/**
 * What happens at the middle layer while decoding: an ADD edit on every row; one whose selectors leave every generated
 * token alone; or the last row only steered, the others the same prompt without.
 */
export type DecodeHook = "add" | "unused" | "variant";

/** What one turn took; `cpuMs` is over all threads of the contender's process. */
export interface Turn {
  readonly wallMs: number;
  readonly cpuMs: number | undefined;
  /** Most memory that the process has had, bytes. */
  readonly peakRss?: number;
}

/** One that takes turns at a model. */
export interface Contender {
  readonly name: string;
  readonly version: string;
  run(work: Work): Promise<Turn>;
}

/** Tokens of one turn: those decoded, or those read. */
export function tokensOf(work: Work): number {
  return work.work === "decode" ? work.batch * work.steps : work.times * work.batch * work.tokens;
}
