/** Sizes of a training step. */
export interface Shape {
  readonly dIn: number;
  readonly dSae: number;
  readonly k: number;
  readonly batch: number;
}

/** What one step took; `cpuMs` is over all threads of the contender's process. */
export interface StepTime {
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly loss: number;
}

/** A trainer that takes its turn. */
export interface Contender {
  readonly name: string;
  readonly version: string;
  /** One optimiser step on a batch by its number. */
  step(batch: number): Promise<StepTime>;
}
