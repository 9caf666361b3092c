import { randomBytes } from "node:crypto";
import { clone, create } from "@bufbuild/protobuf";
import { type Intervention, InterventionSchema, SteeringMethod } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { SamplingParamsSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/sampling";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import type { GenerateStep } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { SteeringService } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { type Handlers, internal, invalidArgument } from "@mistral-sae/rpc";
import { meanNll, textNll } from "../generate/nll.ts";
import { sampleTexts } from "../generate/sampled-texts.ts";
import { resolveInterventions } from "../resolve/interventions.ts";
import { baselineId } from "./steer.ts";
import type { Parts } from "./parts.ts";

const defaultMaxVariants = 16;
const defaultMaxPrompts = 64;

/** SweepSteering: all strengths beside the baseline in one batch, or several where they are too many for one. */
export function sweepHandler({ peers, store }: Parts): Handlers<typeof SteeringService>["sweepSteering"] {
  return async function* sweep({ model, prompt, sampling, intervention, strengths }, { signal }) {
    if (intervention === undefined) throw invalidArgument("intervention", "got nothing, wanted the edit to sweep");
    if (intervention.target.case === "preset") throw invalidArgument("intervention.target", "got a preset, wanted one feature or direction");
    if (strengths.length === 0) throw invalidArgument("strengths", "got none, wanted at least one");
    const { limits } = await peers.inference.getCapabilities({ model }, { signal });
    const perBatch = Math.max(1, (limits?.maxVariants || defaultMaxVariants) - 1);
    // Every batch continues with the same random numbers: a seed that is left open is drawn once.
    const params = sampling ?? create(SamplingParamsSchema);
    params.seed ??= randomBytes(8).readBigUInt64LE();
    const feature = intervention.target.case === "feature" ? intervention.target.value : undefined;
    for (let start = 0; start < strengths.length; start += perBatch) {
      const part = strengths.slice(start, start + perBatch);
      const edits = await Promise.all(part.map(async (strength) => await resolveInterventions(atStrength(intervention, strength), "intervention", peers, store, signal)));
      const variants = [{ variantId: baselineId }, ...edits.map((interventions, i) => ({ variantId: `s${i}`, interventions }))];
      const activations = new Map<string, { sum: number; n: number }>();
      const texts = await sampleTexts(
        peers.inference,
        {
          model,
          ...(prompt === undefined ? {} : { prompt }),
          sampling: params,
          variants,
          withKl: true,
          ...(feature === undefined ? {} : { trace: { sae: feature.sae, featureIndices: [feature.featureIndex] } }),
        },
        signal,
        (step) => addActivation(activations, step),
      );
      const written = variants.map(({ variantId }) => {
        const text = texts.get(variantId);
        if (text === undefined) throw internal("TEXT_MISSING", `the inference service ended without finishing variant "${variantId}"`);
        return text;
      });
      const scores = await textNll(peers.inference, model, written, limits?.maxPrompts || defaultMaxPrompts, signal);
      for (const [i, { variantId }] of variants.entries()) {
        if (i === 0 && start > 0) continue;
        const score = scores[i];
        const activation = activations.get(variantId);
        yield {
          point: {
            strength: i === 0 ? 0 : (part[i - 1] ?? 0),
            text: written[i]?.text ?? "",
            meanKl: i === 0 ? 0 : (written[i]?.meanKl ?? 0),
            meanNll: (score === undefined ? undefined : meanNll([score])) ?? 0,
            ...(activation === undefined ? {} : { featureActivation: activation.sum / activation.n }),
          },
        };
      }
    }
  };
}

/** Strengths at which a method leaves every row as it is. */
const neutralStrengths: ReadonlyMap<SteeringMethod, number> = new Map([
  [SteeringMethod.ADD, 0],
  [SteeringMethod.NORM_SCALED_ADD, 0],
  [SteeringMethod.ORTHOGONAL, 1],
  [SteeringMethod.FEATURE_ADD, 0],
  [SteeringMethod.FEATURE_SCALE, 1],
]);

/** The edit at a strength; no edit where it would change nothing, which inference refuses. */
function atStrength(intervention: Intervention, strength: number): Intervention[] {
  if (strength === neutralStrengths.get(intervention.method)) return [];
  const copy = clone(InterventionSchema, intervention);
  copy.strength = strength;
  return [copy];
}

/** Adds the traced feature's activation of a step; a feature that is silent there counts as 0. */
function addActivation(activations: Map<string, { sum: number; n: number }>, { variantId, trace }: GenerateStep): void {
  if (trace === undefined) return;
  if (trace.activations.byteLength > 0 && trace.activationDtype !== DataType.F32) {
    throw internal("TRACE_DTYPE", `the trace came as ${trace.activationDtype}, wanted F32`);
  }
  const view = new DataView(trace.activations.buffer, trace.activations.byteOffset, trace.activations.byteLength);
  const entry = activations.get(variantId) ?? { sum: 0, n: 0 };
  entry.sum += trace.activations.byteLength >= 4 ? view.getFloat32(0, true) : 0;
  entry.n += 1;
  activations.set(variantId, entry);
}
