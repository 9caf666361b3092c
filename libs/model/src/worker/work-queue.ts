import type { CommandName } from "./protocol.ts";

/** What waits to be run. */
export interface Work {
  readonly id: number;
  readonly name: CommandName;
  readonly args: unknown;
}

/** Decoding and what frees slots first, then prefill, then the rest; each in the order of arrival. */
function classOf(name: CommandName): 0 | 1 | 2 {
  if (name === "decode" || name === "decodeRun" || name === "fork" || name === "free" || name === "proofs" || name === "usage" || name === "prefillCancel") return 0;
  return name === "prefillStart" || name === "prefillStep" ? 1 : 2;
}

/**
 * Work that has arrived and not begun. Of two decoding steps in a row the second lets one piece of other work go first, and
 * prompts and the rest take turns at that, so that generations without end hold up neither prompts nor harvesting.
 */
export class WorkQueue {
  readonly #classes: [Work[], Work[], Work[]] = [[], [], []];
  #decoded = false;
  #promptWentFirst = false;

  push(work: Work): void {
    this.#classes[classOf(work.name)].push(work);
  }

  /** Forgets everything. */
  clear(): void {
    for (const list of this.#classes) list.length = 0;
  }

  take(): Work | undefined {
    const [urgent, prompts, rest] = this.#classes;
    const between = this.#decoded && (urgent[0]?.name === "decode" || urgent[0]?.name === "decodeRun");
    const work = between ? (this.#other(prompts, rest) ?? urgent.shift()) : (urgent.shift() ?? prompts.shift() ?? rest.shift());
    this.#decoded = work?.name === "decode" || work?.name === "decodeRun" || (this.#decoded && work !== undefined && classOf(work.name) === 0);
    return work;
  }

  /** A prompt's piece and one of the rest in turn, as far as there are any. */
  #other(prompts: Work[], rest: Work[]): Work | undefined {
    const prompt = prompts.length > 0 && (rest.length === 0 || !this.#promptWentFirst);
    this.#promptWentFirst = prompt;
    return (prompt ? prompts : rest).shift();
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
