/** How requests are put together. */
export interface TogetherOptions<Item, Answer> {
  /** Askings that are under way at a time; what is wanted meanwhile waits and is then asked for together. */
  readonly inFlight: number;
  /** Items of one asking, at most; a request with more is asked for alone. */
  readonly most: number;
  readonly ask: (items: readonly Item[]) => Promise<readonly Answer[]>;
}

interface Waiting<Item, Answer> {
  readonly items: readonly Item[];
  readonly resolve: (answers: readonly Answer[]) => void;
  readonly reject: (error: unknown) => void;
}

/** Joins requests that come while others are under way, where asking for many at once costs little more than asking for one. */
export class Together<Item, Answer> {
  readonly #options: TogetherOptions<Item, Answer>;
  readonly #waiting: Waiting<Item, Answer>[] = [];
  #running = 0;

  constructor(options: TogetherOptions<Item, Answer>) {
    this.#options = options;
  }

  /** One answer an item, in order. A failure is everybody's who was asked for together. */
  async get(items: readonly Item[]): Promise<readonly Answer[]> {
    return await new Promise((resolve, reject) => {
      this.#waiting.push({ items, resolve, reject });
      this.#next();
    });
  }

  #next(): void {
    if (this.#running >= this.#options.inFlight || this.#waiting.length === 0) return;
    const taken: Waiting<Item, Answer>[] = [];
    let n = 0;
    for (let first = this.#waiting[0]; first !== undefined && (n === 0 || n + first.items.length <= this.#options.most); first = this.#waiting[0]) {
      taken.push(first);
      n += first.items.length;
      this.#waiting.shift();
    }
    this.#running += 1;
    void this.#ask(taken);
  }

  async #ask(taken: readonly Waiting<Item, Answer>[]): Promise<void> {
    try {
      const answers = await this.#options.ask(taken.flatMap(({ items }) => items));
      let at = 0;
      for (const { items, resolve } of taken) resolve(answers.slice(at, (at += items.length)));
    } catch (error) {
      for (const { reject } of taken) reject(error);
    } finally {
      this.#running -= 1;
      this.#next();
    }
  }
}
