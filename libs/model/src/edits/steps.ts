import type { Edit } from "./edit.ts";
import type { Gate, Probe } from "./conditions.ts";
import type { FeatureGroup } from "./feature-group.ts";
import type { RowFormula } from "./vector-formulas.ts";

/** An edit by a direction, ready to run; `index` is its place in the list of edits. */
export interface VectorStep {
  readonly kind: "vector";
  readonly index: number;
  readonly formula: RowFormula;
  /** Set where the edit only adds to the row. */
  readonly addition: Addition | undefined;
}

/** h + c v, or h + c ‖h‖ v when `byNorm`; c = strength · g(t). */
export interface Addition {
  readonly vector: Float32Array;
  /** ‖v‖ */
  readonly length: number;
  readonly strength: number;
  readonly byNorm: boolean;
}

export type CompiledStep = VectorStep | FeatureGroup;

/** A list of edits, checked and resolved, by the residual point that they belong to. */
export interface CompiledEdits {
  readonly edits: readonly Edit[];
  readonly steps: ReadonlyMap<number, readonly CompiledStep[]>;
  /** Points with edits or probes, rising. */
  readonly points: readonly number[];
  /** One an edit; undefined for those without conditions. */
  readonly gates: readonly (Gate | undefined)[];
  readonly probes: readonly Probe[];
}
