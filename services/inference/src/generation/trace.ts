import type { MessageInitShape } from "@bufbuild/protobuf";
import type { SparseCodeSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import type { FeatureTrace } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { Trace } from "@mistral-sae/model";
import { invalidArgument } from "@mistral-sae/rpc";
import { packSparse, type SparseRows } from "@mistral-sae/tensor";
import type { ResolveContext } from "../interventions/resolve.ts";
import { onArrayBuffer } from "../wire/tensor.ts";

const DEFAULT_TOP = 16;

/** The features that a generation follows. @throws INVALID_ARGUMENT, NOT_FOUND or FAILED_PRECONDITION naming the field. */
export function readTrace(trace: FeatureTrace | undefined, context: ResolveContext): Trace | undefined {
  if (trace === undefined) return undefined;
  const sae = context.sae("trace.sae", trace.sae);
  for (const [i, feature] of trace.featureIndices.entries()) {
    if (feature >= sae.dSae) {
      throw invalidArgument(`trace.feature_indices[${i}]`, `got ${feature}, wanted less than ${sae.dSae}`, "FEATURE_OUT_OF_RANGE");
    }
  }
  const base = { sae: sae.engineName, hook: sae.hookName };
  if (trace.featureIndices.length === 0) return { ...base, topK: trace.topK === 0 ? DEFAULT_TOP : trace.topK };
  if (trace.topK !== 0) throw invalidArgument("trace.top_k", `got ${trace.topK} beside feature_indices, wanted one of the two`);
  return { ...base, features: [...trace.featureIndices] };
}

/** Codes as a message in F32. */
export function sparseMessage(rows: SparseRows): MessageInitShape<typeof SparseCodeSchema> {
  const { featureIndices, activations, rowOffsets, ...rest } = packSparse(rows);
  return {
    ...rest,
    featureIndices: onArrayBuffer(featureIndices),
    activations: onArrayBuffer(activations),
    ...(rowOffsets === undefined ? {} : { rowOffsets: onArrayBuffer(rowOffsets) }),
  };
}
