import { Growing } from "../blocks/growing.ts";
import type { FeatureSummary } from "./feature-pass.ts";

/** A window with a feature's firings, as `feature_examples` keeps it. */
export interface Example {
  /** 0 the strongest, one a document; from 1 the strata. */
  readonly stratum: number;
  readonly rank: number;
  readonly sequence: number;
  /** Token that it was chosen for. */
  readonly token: number;
  readonly bits: number;
  /** Where its window's firings stand among those of the pass, and where they end. */
  readonly from: number;
  readonly to: number;
}

/** Memory of passes, one after another. */
export class PassMemory {
  /** One a value: whether it is looked for; zeros between passes. */
  readonly flags: Uint8Array = new Uint8Array(0x8000);
  /** Tokens of the examples' windows where the feature fires, and how strongly. */
  readonly pos: Growing<Uint16Array<ArrayBuffer>> = new Growing((n) => new Uint16Array(n));
  readonly acts: Growing<Uint16Array<ArrayBuffer>> = new Growing((n) => new Uint16Array(n));
}

/** A firing that is looked for. */
interface Wanted {
  readonly stratum: number;
  readonly rank: number;
  readonly bits: number;
  /** Which of the firings of this value, in order of position; -1 where block and pos say which. */
  readonly occurrence: number;
  readonly block: number;
  readonly pos: number;
}

/** Reads one feature's posting lists a second time and takes out the windows that its summary asks for. */
export class ExamplePass {
  readonly #contextSize: number;
  readonly #blockSequences: number;
  /** What is looked for, by value; and how many firings of that value have gone by. */
  readonly #wanted = new Map<number, Wanted[]>();
  readonly #gone = new Map<number, number>();
  readonly #flags: Uint8Array;
  readonly #memory: PassMemory;
  readonly #found: (Example & { readonly doc: number })[] = [];
  readonly #docs: Uint32Array;

  /** `memory` is this pass's alone until its examples have been used. */
  constructor(view: { readonly contextSize: number; readonly blockSequences: number; readonly docs: Uint32Array }, summary: FeatureSummary, memory: PassMemory) {
    this.#contextSize = view.contextSize;
    this.#blockSequences = view.blockSequences;
    this.#docs = view.docs;
    this.#memory = memory;
    this.#flags = memory.flags;
    memory.pos.clear();
    memory.acts.clear();
    for (const [rank, { bits, block, pos }] of summary.top.entries()) this.#want({ stratum: 0, rank, bits, occurrence: -1, block, pos });
    for (const [s, { picks }] of summary.strata.entries()) {
      for (const [rank, { bits, occurrence }] of picks.entries()) this.#want({ stratum: s + 1, rank, bits, occurrence, block: -1, pos: -1 });
    }
  }

  add(block: number, pos: Uint16Array, acts: Uint16Array): void {
    const flags = this.#flags;
    for (let i = 0; i < pos.length; i++) {
      const bits = acts[i] as number;
      if (flags[bits] === 0) continue;
      const occurrence = this.#gone.get(bits) ?? 0;
      this.#gone.set(bits, occurrence + 1);
      for (const wanted of this.#wanted.get(bits) ?? []) {
        const isIt = wanted.occurrence < 0 ? wanted.block === block && wanted.pos === pos[i] : wanted.occurrence === occurrence;
        if (isIt) this.#take(wanted, block, pos, acts, i);
      }
    }
  }

  /** Stratum by stratum, strongest first; within a stratum one a document. */
  finish(): Example[] {
    for (const bits of this.#wanted.keys()) this.#flags[bits] = 0;
    const ordered = this.#found.sort((a, b) => a.stratum - b.stratum || a.rank - b.rank);
    const kept: Example[] = [];
    let docs = new Set<number>();
    for (const { doc, ...example } of ordered) {
      const previous = kept.at(-1);
      if (previous?.stratum !== example.stratum) docs = new Set();
      if (docs.has(doc)) continue;
      docs.add(doc);
      kept.push({ ...example, rank: previous?.stratum === example.stratum ? previous.rank + 1 : 0 });
    }
    return kept;
  }

  #want(wanted: Wanted): void {
    const others = this.#wanted.get(wanted.bits);
    if (others === undefined) this.#wanted.set(wanted.bits, [wanted]);
    else others.push(wanted);
    this.#flags[wanted.bits] = 1;
  }

  #take({ stratum, rank, bits }: Wanted, block: number, pos: Uint16Array, acts: Uint16Array, at: number): void {
    const window = Math.floor((pos[at] as number) / this.#contextSize);
    const first = window * this.#contextSize;
    let start = at;
    while (start > 0 && (pos[start - 1] as number) >= first) start -= 1;
    let end = at + 1;
    while (end < pos.length && (pos[end] as number) < first + this.#contextSize) end += 1;
    const sequence = block * this.#blockSequences + window;
    const from = this.#memory.pos.length;
    const to = from + end - start;
    const inWindow = this.#memory.pos.room(end - start);
    for (let i = start; i < end; i++) inWindow[from + i - start] = (pos[i] as number) - first;
    this.#memory.pos.length = to;
    this.#memory.acts.append(acts.subarray(start, end));
    this.#found.push({
      stratum,
      rank,
      sequence,
      token: (pos[at] as number) - first,
      bits,
      from,
      to,
      doc: this.#docs[sequence] as number,
    });
  }
}
