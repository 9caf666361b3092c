import type { SaeRuntime } from "../sae/sae-runtime.ts";
import type { Edit, EditProof, GeneratedRule, GeneratedSet } from "./edit.ts";
import type { ActivationFormula } from "./feature-formulas.ts";
import type { RowFormula } from "./vector-formulas.ts";

/** An edit by a direction, ready to run; `index` is its place in the list of edits. */
export interface VectorStep {
  readonly kind: "vector";
  readonly index: number;
  readonly formula: RowFormula;
}

/** One edit of a feature group. */
export interface FeatureStep {
  readonly index: number;
  readonly feature: number;
  readonly formula: ActivationFormula;
  /** Whether it is a feature_set, of which a group takes one a feature. */
  readonly set: boolean;
  readonly keepErrorTerm: boolean;
}

/** Consecutive feature edits of one SAE at one hook: one encoding of the row, one change of it. */
export interface FeatureGroup {
  readonly kind: "features";
  readonly sae: SaeRuntime;
  readonly features: readonly FeatureStep[];
  /** Indices of the reconstruct edits in the group. */
  readonly reconstruct: readonly number[];
}

export type CompiledStep = VectorStep | FeatureGroup;

/** A list of edits, checked and resolved, by the residual point that they belong to. */
export interface CompiledEdits {
  readonly edits: readonly Edit[];
  readonly steps: ReadonlyMap<number, readonly CompiledStep[]>;
  /** Points with edits, rising. */
  readonly points: readonly number[];
}

/** Whether edit `edit` touches the token `token` at `position` of a sequence that was given `promptLength` tokens. */
export function selects(edit: Edit, position: number, promptLength: number, token: number): boolean {
  if (position < promptLength) return edit.prompt === undefined || edit.prompt[position] !== 0;
  return edit.generated === undefined || ruleHolds(edit.generated, position - promptLength, token);
}

function ruleHolds(rule: GeneratedRule, t: number, token: number): boolean {
  const included = rule.include === undefined || contains(rule.include, t, token);
  return included && !(rule.exclude !== undefined && contains(rule.exclude, t, token));
}

function contains(set: GeneratedSet, t: number, token: number): boolean {
  if (set.all === true) return true;
  if (set.window !== undefined && t >= set.window.start && (set.window.end === undefined || t < set.window.end)) return true;
  return set.tokenIds?.includes(token) === true;
}

/** g(t) at `position`; prompt rows use g(0), and the last factor is held. */
export function factorAt(edit: Edit, position: number, promptLength: number): number {
  const { schedule } = edit;
  if (schedule === undefined) return 1;
  return schedule[Math.min(Math.max(position - promptLength, 0), schedule.length - 1)]!;
}

/** The edits of one sequence, with the record of what they did. */
export class SequenceEdits {
  readonly compiled: CompiledEdits;
  readonly promptLength: number;
  readonly #promptRows: Uint32Array;
  readonly #steps: Uint32Array;
  readonly #changed: Uint32Array;
  readonly #moved: Float64Array;

  constructor(compiled: CompiledEdits, promptLength: number) {
    const n = compiled.edits.length;
    this.compiled = compiled;
    this.promptLength = promptLength;
    this.#promptRows = new Uint32Array(n);
    this.#steps = new Uint32Array(n);
    this.#changed = new Uint32Array(n);
    this.#moved = new Float64Array(n);
  }

  /** Whether any edit touches this token. */
  touches(position: number, token: number): boolean {
    return this.compiled.edits.some((edit) => selects(edit, position, this.promptLength, token));
  }

  /** First of the given tokens that an edit touches; promptLength when none does. */
  firstTouched(): number {
    for (let position = 0; position < this.promptLength; position++) {
      if (this.compiled.edits.some((edit) => selects(edit, position, this.promptLength, 0))) return position;
    }
    return this.promptLength;
  }

  /** Notes that edit `index` was applied to the row at `position` and moved it by `distance`. */
  record(index: number, position: number, distance: number): void {
    const rows = position < this.promptLength ? this.#promptRows : this.#steps;
    rows[index] = rows[index]! + 1;
    if (distance > 0) this.#changed[index] = this.#changed[index]! + 1;
    this.#moved[index] = this.#moved[index]! + distance;
  }

  proofs(): EditProof[] {
    return this.compiled.edits.map(({ id }, i) => {
      const promptRows = this.#promptRows[i]!;
      const steps = this.#steps[i]!;
      const rows = promptRows + steps;
      return { id, promptRows, steps, changedRows: this.#changed[i]!, meanDeltaNorm: rows === 0 ? 0 : this.#moved[i]! / rows };
    });
  }
}
