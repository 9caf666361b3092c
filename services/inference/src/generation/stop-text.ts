/**
 * Lets text through up to the first stop text. What may be the beginning of one is held back until it is known,
 * so that no part of a stop text is ever shown.
 */
export class StopText {
  readonly #stops: readonly string[];
  #held = "";

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** The text that may be shown now, and whether a stop text has been met; nothing may be pushed after that. */
  push(delta: string): { readonly text: string; readonly stopped: boolean } {
    if (this.#stops.length === 0) return { text: delta, stopped: false };
    const text = this.#held + delta;
    let end = text.length;
    for (const stop of this.#stops) {
      const at = text.indexOf(stop);
      if (at >= 0 && at < end) end = at;
    }
    if (end < text.length) {
      this.#held = "";
      return { text: text.slice(0, end), stopped: true };
    }
    const held = this.#longestBeginning(text);
    this.#held = text.slice(text.length - held);
    return { text: text.slice(0, text.length - held), stopped: false };
  }

  /** What was held back, when the text ends without a stop text. */
  flush(): string {
    const held = this.#held;
    this.#held = "";
    return held;
  }

  /** Length of the longest end of `text` that begins a stop text. */
  #longestBeginning(text: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
        if (text.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}
