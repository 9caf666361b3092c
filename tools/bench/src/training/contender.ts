/** What a training step is of. */
export interface Cell {
  readonly architecture: Architecture;
  readonly dIn: number;
  readonly dSae: number;
  /** Features a row; jumprelu takes none, its penalty decides. */
  readonly k: number;
  readonly batch: number;
  /** Share of the latents that are dead: they never fire, and AuxK works on them. */
  readonly dead: number;
}

export const architectures = ["topk", "batchtopk", "matryoshka_batchtopk", "jumprelu"] as const;
export type Architecture = (typeof architectures)[number];

/** What one step took; `cpuMs` is over all threads of the contender's process, `peakRss` its largest memory so far, bytes. */
export interface StepTime {
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly peakRss: number;
  readonly loss: number;
}

/** A trainer that takes its turn. */
export interface Contender {
  readonly name: string;
  readonly version: string;
  /** One optimiser step on a batch by its number. */
  step(batch: number): Promise<StepTime>;
}
