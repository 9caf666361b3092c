import type { CommandName } from "./protocol.ts";

/** What waits to be run. */
export interface Work {
  readonly id: number;
  readonly name: CommandName;
  readonly args: unknown;
}

/** Decoding and what frees slots first, then prefill, then the rest; each in the order of arrival. */
function classOf(name: CommandName): 0 | 1 | 2 {
  if (name === "decode" || name === "fork" || name === "free" || name === "proofs" || name === "usage" || name === "prefillCancel") return 0;
  return name === "prefillStart" || name === "prefillStep" ? 1 : 2;
}

/** Work that has arrived and not begun. */
export class WorkQueue {
  readonly #classes: [Work[], Work[], Work[]] = [[], [], []];

  push(work: Work): void {
    this.#classes[classOf(work.name)].push(work);
  }

  /** Forgets everything. */
  clear(): void {
    for (const list of this.#classes) list.length = 0;
  }

  take(): Work | undefined {
    return this.#classes.find((list) => list.length > 0)?.shift();
  }

  /** Takes one piece out; undefined when it has begun or ended. */
  drop(id: number): Work | undefined {
    for (const list of this.#classes) {
      const index = list.findIndex((work) => work.id === id);
      if (index >= 0) return list.splice(index, 1)[0];
    }
    return undefined;
  }
}
