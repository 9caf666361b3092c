/** A step whose loss or gradient is not a finite number. The weights are those before the step. */
export class NonFiniteError extends Error {
  override readonly name = "NonFiniteError";
  /** 1 for the first. */
  readonly step: number;
  /** The first tensor, in the order of computation, that holds a value that is not finite. */
  readonly tensor: string;

  constructor(step: number, tensor: string) {
    super(`step ${step} has no finite result: ${tensor} is not finite; lower the learning rate, or check the activations`);
    this.step = step;
    this.tensor = tensor;
  }
}
