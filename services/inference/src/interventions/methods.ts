import { SteeringMethod } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { FeatureEdit, VectorEdit } from "@mistral-sae/model";

/** Options that only some methods have; the others refuse them. */
export type Option = "strength" | "bounds" | "maxFraction" | "normalize" | "swapTarget" | "keepErrorTerm" | "allowNegative" | "schedule";

interface MethodBase {
  /** Name in messages. */
  readonly label: string;
  /** Options that must be there. */
  readonly required: readonly Option[];
  /** Options that may be there. */
  readonly optional: readonly Option[];
}

/** A method that edits along a direction: a vector, or a feature's decoder row. */
export interface VectorMethod extends MethodBase {
  readonly kind: "vector";
  readonly method: VectorEdit["method"];
}

/** A method that edits one feature's activation. */
export interface FeatureMethod extends MethodBase {
  readonly kind: "feature";
  readonly method: FeatureEdit["method"];
}

/** RECONSTRUCT. */
export interface ReconstructMethod extends MethodBase {
  readonly kind: "reconstruct";
  readonly method: "reconstruct";
}

export type Method = VectorMethod | FeatureMethod | ReconstructMethod;

/** The methods understood, by their number on the wire, with the fields that apply to each. */
export const METHODS: ReadonlyMap<SteeringMethod, Method> = new Map<SteeringMethod, Method>([
  [SteeringMethod.ADD, { kind: "vector", method: "add", label: "ADD", required: ["strength"], optional: ["normalize", "schedule"] }],
  [
    SteeringMethod.NORM_SCALED_ADD,
    {
      kind: "vector",
      method: "norm_scaled_add",
      label: "NORM_SCALED_ADD",
      required: ["strength"],
      optional: ["normalize", "maxFraction", "schedule"],
    },
  ],
  [SteeringMethod.ORTHOGONAL, { kind: "vector", method: "orthogonal", label: "ORTHOGONAL", required: ["strength"], optional: ["schedule"] }],
  [SteeringMethod.PROJECTION_CAP, { kind: "vector", method: "projection_cap", label: "PROJECTION_CAP", required: ["bounds"], optional: [] }],
  [SteeringMethod.ABLATE, { kind: "vector", method: "ablate", label: "ABLATE", required: [], optional: [] }],
  [SteeringMethod.SWAP, { kind: "vector", method: "swap", label: "SWAP", required: ["swapTarget"], optional: [] }],
  [SteeringMethod.REPLACE, { kind: "vector", method: "replace", label: "REPLACE", required: [], optional: ["strength", "schedule"] }],
  [
    SteeringMethod.FEATURE_SET,
    {
      kind: "feature",
      method: "feature_set",
      label: "FEATURE_SET",
      required: ["strength"],
      optional: ["keepErrorTerm", "allowNegative", "schedule"],
    },
  ],
  [
    SteeringMethod.FEATURE_ADD,
    {
      kind: "feature",
      method: "feature_add",
      label: "FEATURE_ADD",
      required: ["strength"],
      optional: ["keepErrorTerm", "allowNegative", "schedule"],
    },
  ],
  [
    SteeringMethod.FEATURE_SCALE,
    { kind: "feature", method: "feature_scale", label: "FEATURE_SCALE", required: ["strength"], optional: ["keepErrorTerm", "schedule"] },
  ],
  [
    SteeringMethod.FEATURE_CLAMP,
    { kind: "feature", method: "feature_clamp", label: "FEATURE_CLAMP", required: ["bounds"], optional: ["keepErrorTerm"] },
  ],
  [SteeringMethod.RECONSTRUCT, { kind: "reconstruct", method: "reconstruct", label: "RECONSTRUCT", required: [], optional: [] }],
]);
