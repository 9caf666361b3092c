import { resourceExhausted } from "@mistral-sae/rpc";

/** Bounds the calls that use a model at a time; what is beyond is refused at once, before any work. */
export class CallGate {
  readonly #most: number;
  #open = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** Enters; the function returned leaves. @throws RESOURCE_EXHAUSTED CONCURRENCY_LIMIT. */
  enter(): () => void {
    if (this.#open >= this.#most) {
      throw resourceExhausted("CONCURRENCY_LIMIT", `${this.#open} calls use the model already, ${this.#most} may; try again later`);
    }
    this.#open++;
    let inside = true;
    return () => {
      if (inside) this.#open--;
      inside = false;
    };
  }
}
