/**
 * Edits of the residual stream, as data. They are compiled and applied inside the engine, between the sessions that
 * meet at their hook. Symbols: h the row, v the direction, u = v/‖v‖, s the strength, a = encode(h) the SAE's code,
 * D its decoder rows, sd the scale of its input normalisation.
 */
export type Edit = VectorEdit | FeatureEdit | ReconstructEdit;

/** What every edit says. */
export interface EditBase {
  /** Name in errors and in the proof. */
  readonly id: string;
  /** Residual hook, `blocks.L.hook_resid_pre` or `blocks.L.hook_resid_post`. */
  readonly hook: string;
  /**
   * Which of the given tokens are edited: one byte a token, 0 leaves the row alone, bit for bit. Absent: all of them.
   * A mask shorter or longer than the tokens is refused.
   */
  readonly prompt?: Uint8Array;
  /** Which generated tokens are edited; absent: all of them. Only generation reads it. */
  readonly generated?: GeneratedRule;
  /**
   * Factors g(t) on the strength, t the index of the generated token, the last one held; prompt rows use g(0).
   * ORTHOGONAL and FEATURE_SCALE move from their neutral value: 1 + (s − 1) g(t). Absent: 1 throughout.
   */
  readonly schedule?: Float32Array;
  /** Tests of features at each row that is selected; those of one action must all hold for it. */
  readonly conditions?: readonly EditCondition[];
}

/**
 * A test of a feature: whether the largest of its activations over the last tokens meets the comparison. The feature is
 * read in the row as it comes to `hook`, before the edits there.
 */
export interface EditCondition {
  readonly sae: string;
  /** Residual hook; of `apply` at or before the edit's own. */
  readonly hook: string;
  readonly feature: number;
  readonly comparison: "greater" | "greater_equal" | "less" | "less_equal";
  /** In the SAE's own units; a silent feature has 0. */
  readonly threshold: number;
  /** Tokens looked at, the row's own included, those of the prompt counted; default 1. */
  readonly lookback?: number;
  /**
   * - apply (default): the row is edited where these hold
   * - abort: the sequence is over where these hold, which a step reports as `ended`; only generation takes it
   */
  readonly action?: "apply" | "abort";
}

/** Which generated tokens an edit touches: those included, less those excluded. */
export interface GeneratedRule {
  /** Absent: every generated token. */
  readonly include?: GeneratedSet;
  /** Absent: none. */
  readonly exclude?: GeneratedSet;
}

/** The union of what is set. */
export interface GeneratedSet {
  readonly all?: boolean;
  /** Half-open range of the index t of a generated token, 0 the first; `end` absent is open. */
  readonly window?: { readonly start: number; readonly end?: number };
  /** Tokens with one of these ids. */
  readonly tokenIds?: readonly number[];
}

/** A decoder row of a loaded SAE as a direction (its own rescaling by decoder norms counted). */
export interface FeatureDirection {
  readonly sae: string;
  readonly feature: number;
}

/** A direction [d_model]: a vector, or a feature's decoder row. */
export type Direction = Float32Array | FeatureDirection;

/** An edit by a direction. A zero or non-finite direction is refused (a zero one is allowed in `replace`). */
export interface VectorEdit extends EditBase {
  /**
   * - add: h + s v
   * - norm_scaled_add: q = s ‖h‖ v; h + q · min(1, maxFraction ‖h‖ / ‖q‖)
   * - orthogonal: h + (s − 1)(h·u) u
   * - projection_cap: h + (clip(h·u, min, max) − h·u) u
   * - ablate: h − (h·u) u
   * - swap: h + (h·u)(w − u), w the unit swap target
   * - replace: s v
   */
  readonly method: "add" | "norm_scaled_add" | "orthogonal" | "projection_cap" | "ablate" | "swap" | "replace";
  readonly direction: Direction;
  /** s; required by add, norm_scaled_add and orthogonal, 1 in replace when absent, refused by the others. */
  readonly strength?: number;
  /** In `add`: raw is s v; resid_norm_fraction is s ‖h‖ u. Default raw; the other methods take raw only. */
  readonly unit?: "raw" | "resid_norm_fraction";
  /** In add and norm_scaled_add: u in place of v. */
  readonly normalize?: boolean;
  /** In projection_cap: bounds, at least one. */
  readonly min?: number;
  readonly max?: number;
  /** In norm_scaled_add: default 1. */
  readonly maxFraction?: number;
  /** In swap: the second direction. */
  readonly swapTarget?: Direction;
}

/**
 * An edit of one feature's activation. Consecutive feature edits of one SAE at one hook form a group: one encoding,
 * one summed step h + sd Σ (a'_f − a_f) D_f, or decode(a') where one of them does not keep the error. Edits of the same
 * feature act on its activation in list order; two feature_set of one feature must not meet at a row.
 */
export interface FeatureEdit extends EditBase {
  /**
   * - feature_set: a'_f = s
   * - feature_add: a'_f = max(0, a_f + s), without the floor when `allowNegative`
   * - feature_scale: a'_f = s a_f
   * - feature_clamp: a'_f = min(max(a_f, min), max)
   */
  readonly method: "feature_set" | "feature_add" | "feature_scale" | "feature_clamp";
  readonly sae: string;
  readonly feature: number;
  /** s; refused by feature_clamp. feature_set below 0 needs `allowNegative`. */
  readonly strength?: number;
  /** Bounds of feature_clamp, at least one. */
  readonly min?: number;
  readonly max?: number;
  /** Keep what the SAE does not reconstruct; default true. */
  readonly keepErrorTerm?: boolean;
  readonly allowNegative?: boolean;
}

/** Replaces the row by the SAE's reconstruction of it: h' = decode(a). Last in its group. */
export interface ReconstructEdit extends EditBase {
  readonly method: "reconstruct";
  readonly sae: string;
}

/** What one edit did to one sequence. */
export interface EditProof {
  readonly id: string;
  /** Rows of the given tokens that it edited. */
  readonly promptRows: number;
  /** Decoding steps that it edited. */
  readonly steps: number;
  /** Rows of the given tokens that it selects and left alone because a condition did not hold. */
  readonly offPromptRows: number;
  /** Decoding steps, likewise. */
  readonly offSteps: number;
  /** Of all edited rows, those that it left at another value than it found (a silent feature scaled stays as it was). */
  readonly changedRows: number;
  /** Mean of ‖h' − h‖ over the edited rows, 0 when there are none. */
  readonly meanDeltaNorm: number;
}
