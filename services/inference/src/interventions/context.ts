import type { FeatureRef } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { EngineInfo } from "@mistral-sae/model";
import { invalidArgument } from "@mistral-sae/rpc";

/** A loaded SAE as interventions use it. */
export interface SaeTarget {
  /** Its name in the engine. */
  readonly engineName: string;
  readonly hookName: string;
  readonly dSae: number;
}

/** What resolving needs to know of the model. */
export interface ResolveContext {
  readonly info: EngineInfo;
  /** A READY SAE of this model. Throws NOT_FOUND, SAE_NOT_LOADED or SAE_MISMATCH naming the field. */
  sae(field: string, name: string): SaeTarget;
}

/** The feature of a loaded SAE that a reference names. @throws as ResolveContext.sae does; FEATURE_OUT_OF_RANGE. */
export function featureOf(field: string, ref: FeatureRef, context: ResolveContext): { sae: SaeTarget; feature: number } {
  const sae = context.sae(`${field}.sae`, ref.sae);
  if (ref.featureIndex >= sae.dSae) {
    throw invalidArgument(`${field}.feature_index`, `got ${ref.featureIndex}, wanted less than ${sae.dSae}`, "FEATURE_OUT_OF_RANGE");
  }
  return { sae, feature: ref.featureIndex };
}
