/** Where a firing is. */
export interface Firing {
  readonly bits: number;
  readonly block: number;
  readonly pos: number;
}

/** Keeps the strongest firings, at most one a document; of equals the earlier one. Documents come in order. */
export class TopDocuments {
  readonly #size: number;
  readonly #top: Firing[] = [];
  #doc = -1;
  #bits = 0;
  #block = 0;
  #pos = 0;

  constructor(size: number) {
    this.#size = size;
  }

  add(doc: number, bits: number, block: number, pos: number): void {
    if (doc !== this.#doc) {
      this.#settle();
      this.#doc = doc;
      this.#bits = 0;
    }
    if (bits > this.#bits) {
      this.#bits = bits;
      this.#block = block;
      this.#pos = pos;
    }
  }

  /** Strongest first; ready for the next feature afterwards. */
  take(): Firing[] {
    this.#settle();
    this.#doc = -1;
    this.#bits = 0;
    return this.#top.splice(0);
  }

  /** Enters the best firing of the document that has ended. */
  #settle(): void {
    const top = this.#top;
    if (this.#bits === 0 || (top.length === this.#size && this.#bits <= (top.at(-1) as Firing).bits)) return;
    let at = top.length;
    while (at > 0 && (top[at - 1] as Firing).bits < this.#bits) at -= 1;
    top.splice(at, 0, { bits: this.#bits, block: this.#block, pos: this.#pos });
    if (top.length > this.#size) top.pop();
  }
}
