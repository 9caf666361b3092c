import { FinishReason, type GenerateFinished, type GenerateStep } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { unpackSparse } from "@mistral-sae/tensor";
import type { Generated, Job } from "./job.ts";

/** What steering did to one choice: the proof, beside the API's own fields of the choice. */
export function choiceSteering(job: Job, finished: GenerateFinished) {
  if (!isSteered(job)) return {};
  const { steeringAppliedSteps, steeringExpectedSteps, proofs, warnings, finishReason } = finished;
  return {
    steering: {
      applied_steps: steeringAppliedSteps,
      expected_steps: steeringExpectedSteps,
      ended_by_condition: finishReason === FinishReason.CONDITION,
      proofs: proofs.map((proof) => ({
        id: proof.id,
        hook_name: proof.hookName,
        resolved_strength: proof.resolvedStrength,
        prompt_positions: proof.promptPositions,
        applied_steps: proof.appliedSteps,
        expected_steps: proof.expectedSteps,
        mean_delta_norm: proof.meanDeltaNorm,
      })),
      warnings,
    },
  };
}

/** What steering did to all choices, beside the API's own fields of the answer. */
export function totalSteering(job: Job, choices: readonly GenerateFinished[]) {
  if (!isSteered(job)) return {};
  const sum = (of: (finished: GenerateFinished) => number) => choices.reduce((total, finished) => total + of(finished), 0);
  return { steering: { applied_steps: sum(({ steeringAppliedSteps }) => steeringAppliedSteps), expected_steps: sum(({ steeringExpectedSteps }) => steeringExpectedSteps) } };
}

/** Takes the choices of a stream as they end; with the last one comes what steering did to all. */
export function steeringOfStream(job: Job): (finished: GenerateFinished) => object {
  const ended: GenerateFinished[] = [];
  return (finished) => (ended.push(finished) === job.prompts.length * job.choices ? totalSteering(job, ended) : {});
}

/** What should be known of the prompts, beside the API's own fields of the answer. */
export function promptWarnings(choices: readonly Generated[]) {
  const warnings = [...new Set(choices.flatMap(({ started }) => started.warnings))];
  return warnings.length === 0 ? {} : { warnings };
}

function isSteered({ steering }: Job): boolean {
  return steering.interventions.length + steering.queries.length > 0;
}

/** The features of each token, when a trace was asked for. */
export function featuresOf(job: Job, steps: readonly GenerateStep[]) {
  if (job.trace === undefined) return {};
  return { features: steps.map(tokenFeatures) };
}

function tokenFeatures({ step, tokenId, trace }: GenerateStep) {
  const { indices, values } = trace === undefined ? { indices: [], values: [] } : unpackSparse(trace);
  return { step, token_id: tokenId, top: Array.from(indices, (feature, i) => ({ feature, activation: values[i] ?? 0 })) };
}
