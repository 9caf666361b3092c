import type { EditProof } from "./edit.ts";
import { meets, type Test } from "./conditions.ts";
import { selects } from "./rules.ts";
import type { CompiledEdits } from "./steps.ts";

/** What becomes of a row under one edit: not selected, edited, or selected and held off by a condition. */
export type Verdict = "none" | "apply" | "off";

/** The edits of one sequence, with the activations that their conditions look at and the record of what they did. */
export class SequenceEdits {
  readonly compiled: CompiledEdits;
  readonly promptLength: number;
  readonly #promptRows: Uint32Array;
  readonly #steps: Uint32Array;
  readonly #offPromptRows: Uint32Array;
  readonly #offSteps: Uint32Array;
  readonly #changed: Uint32Array;
  readonly #moved: Float64Array;
  /** [edit] First position that its conditions may look at. */
  readonly #neededFrom: Uint32Array;
  /** [probe][position]; NaN where it was not read. */
  readonly #activations: Float32Array[];
  #lastApplied = -1;
  #lastOff = -1;
  #endedBy = -1;
  #endedAt = Infinity;

  constructor(compiled: CompiledEdits, promptLength: number) {
    const n = compiled.edits.length;
    this.compiled = compiled;
    this.promptLength = promptLength;
    this.#promptRows = new Uint32Array(n);
    this.#steps = new Uint32Array(n);
    this.#offPromptRows = new Uint32Array(n);
    this.#offSteps = new Uint32Array(n);
    this.#changed = new Uint32Array(n);
    this.#moved = new Float64Array(n);
    this.#neededFrom = Uint32Array.from(compiled.edits, ({ prompt }, i) => {
      const first = prompt === undefined ? 0 : prompt.findIndex((selected) => selected !== 0);
      return Math.max(0, (first < 0 ? promptLength : first) + 1 - (compiled.gates[i]?.lookback ?? 1));
    });
    this.#activations = compiled.probes.map(() => new Float32Array(promptLength + 1).fill(Number.NaN));
  }

  /** Index of the edit whose conditions end the sequence; -1 for none. */
  get endedBy(): number {
    return this.#endedBy;
  }

  /** Whether any edit selects this token. */
  touches(position: number, token: number): boolean {
    const { edits } = this.compiled;
    for (const edit of edits) if (selects(edit, position, this.promptLength, token)) return true;
    return false;
  }

  /** Whether an edit selects this token, or its conditions look at it from a later one. */
  needs(position: number, token: number): boolean {
    if (this.touches(position, token)) return true;
    const { gates } = this.compiled;
    for (let index = 0; index < gates.length; index++) {
      if ((gates[index]?.lookback ?? 1) > 1 && position >= this.#neededFrom[index]!) return true;
    }
    return false;
  }

  /** What edit `index` does with the token `token` at `position`. Its conditions' features must have been read. */
  verdict(index: number, position: number, token: number): Verdict {
    if (!selects(this.compiled.edits[index]!, position, this.promptLength, token)) return "none";
    const gate = this.compiled.gates[index];
    return gate === undefined || this.#hold(gate.apply, position) ? "apply" : "off";
  }

  /** Notes that edit `index` was applied to the row at `position` and moved it by `distance`. */
  record(index: number, position: number, distance: number): void {
    const rows = position < this.promptLength ? this.#promptRows : this.#steps;
    rows[index] = rows[index]! + 1;
    if (distance > 0) this.#changed[index] = this.#changed[index]! + 1;
    this.#moved[index] = this.#moved[index]! + distance;
    this.#lastApplied = Math.max(this.#lastApplied, position);
  }

  /** Notes that a condition held edit `index` off the row at `position`. */
  recordOff(index: number, position: number): void {
    const rows = position < this.promptLength ? this.#offPromptRows : this.#offSteps;
    rows[index] = rows[index]! + 1;
    this.#lastOff = Math.max(this.#lastOff, position);
  }

  /** What was done with the rows of the given tokens, or at a position after them; see StepResult.edited. */
  editedAt(position: number): number {
    if (position < this.promptLength) return this.#promptRows.some((rows) => rows > 0) ? 1 : this.#offPromptRows.some((rows) => rows > 0) ? 2 : 0;
    return this.#lastApplied === position ? 1 : this.#lastOff === position ? 2 : 0;
  }

  /** Whether a condition looks at a probe's feature at this token. */
  reads(probe: number, position: number, token: number): boolean {
    const { edits, gates, probes } = this.compiled;
    for (const index of probes[probe]!.edits) {
      if (gates[index]!.lookback > 1 ? position >= this.#neededFrom[index]! : selects(edits[index]!, position, this.promptLength, token)) return true;
    }
    return false;
  }

  /** Keeps the activation of a probe's feature at a position. */
  note(probe: number, position: number, activation: number): void {
    const known = this.#activations[probe]!;
    if (position < known.length) {
      known[position] = activation;
      return;
    }
    const grown = new Float32Array(2 * (position + 1)).fill(Number.NaN);
    grown.set(known);
    grown[position] = activation;
    this.#activations[probe] = grown;
  }

  /** Ends the sequence at this token if the conditions of an edit that are complete at `point` say so. */
  checkEnd(point: number, position: number, token: number): void {
    const { edits, gates } = this.compiled;
    for (let index = 0; index < gates.length; index++) {
      const gate = gates[index];
      if (gate === undefined || gate.abort.length === 0 || gate.abortPoint !== point || position >= this.#endedAt) continue;
      if (!selects(edits[index]!, position, this.promptLength, token) || !this.#hold(gate.abort, position)) continue;
      this.#endedBy = index;
      this.#endedAt = position;
    }
  }

  proofs(): EditProof[] {
    return this.compiled.edits.map(({ id }, i) => {
      const promptRows = this.#promptRows[i]!;
      const steps = this.#steps[i]!;
      const rows = promptRows + steps;
      return {
        id,
        promptRows,
        steps,
        offPromptRows: this.#offPromptRows[i]!,
        offSteps: this.#offSteps[i]!,
        changedRows: this.#changed[i]!,
        meanDeltaNorm: rows === 0 ? 0 : this.#moved[i]! / rows,
      };
    });
  }

  /** The same edits having read the same tokens; the record of what they did starts anew. */
  fork(): SequenceEdits {
    const copy = new SequenceEdits(this.compiled, this.promptLength);
    for (const [probe, known] of this.#activations.entries()) copy.#activations[probe] = known.slice();
    return copy;
  }

  #hold(tests: readonly Test[], position: number): boolean {
    for (const test of tests) if (!meets(test, this.#largest(test, position))) return false;
    return true;
  }

  #largest({ probe, lookback }: Test, position: number): number {
    const known = this.#activations[probe]!;
    let most = 0;
    for (let at = Math.max(0, position + 1 - lookback); at <= position; at++) {
      const activation = known[at] ?? Number.NaN;
      if (Number.isNaN(activation)) throw new Error(`feature ${this.compiled.probes[probe]!.feature} was not read at position ${at}`);
      if (activation > most) most = activation;
    }
    return most;
  }
}
