import type { MessageInitShape } from "@bufbuild/protobuf";
import { type Intervention, StrengthUnit } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { InterventionProofSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { EditProof } from "@mistral-sae/model";
import { internal } from "@mistral-sae/rpc";
import type { PlacedIntervention } from "../interventions/placed.ts";
import type { ResolvedIntervention } from "../interventions/resolve.ts";

type ProofFields = MessageInitShape<typeof InterventionProofSchema>;

/** What the edits of one sequence did, beside what they had to do. */
export interface Proven {
  readonly proofs: readonly ProofFields[];
  readonly warnings: readonly string[];
}

/**
 * Holds the engine's proofs against what was asked for.
 *
 * @param selectedSteps decoding steps that each intervention selects: it edits them, unless a condition holds it off.
 * @throws INTERNAL STEERING_NOT_APPLIED when one edited more or fewer rows than it had to.
 */
export function proveSteering(where: string, placed: readonly PlacedIntervention[], selectedSteps: readonly number[], proofs: readonly EditProof[]): Proven {
  const warnings: string[] = [];
  const fields = placed.map(({ source, promptRows }, i): ProofFields => {
    const proof = proofs[i];
    const selected = selectedSteps[i] ?? 0;
    if (proof === undefined || proof.id !== source.id || !addsUp(source, proof, promptRows, selected)) {
      throw internal(
        "STEERING_NOT_APPLIED",
        `${where}: intervention ${JSON.stringify(source.id)} had to edit ${promptRows} prompt rows and ${selected} steps, the engine reports ` +
          (proof === undefined ? "nothing" : `${proof.promptRows} and ${proof.steps}, and ${proof.offPromptRows} and ${proof.offSteps} held off by conditions`),
      );
    }
    const rows = proof.promptRows + proof.steps;
    const off = proof.offPromptRows + proof.offSteps;
    if (rows === 0 && off > 0) {
      warnings.push(`intervention ${JSON.stringify(source.id)} edited nothing: its conditions held at none of its ${off} rows`);
    } else if (rows === 0) {
      warnings.push(`intervention ${JSON.stringify(source.id)} met none of its positions: nothing was edited`);
    } else if (proof.changedRows === 0) {
      warnings.push(`intervention ${JSON.stringify(source.id)} left all its ${rows} rows as they were (a strength without effect, or a silent feature)`);
    }
    return {
      id: source.id,
      hookName: source.hookName,
      resolvedStrength: resolvedStrength(source.source, proof),
      promptPositions: proof.promptRows,
      appliedSteps: proof.steps,
      expectedSteps: selected - proof.offSteps,
      meanDeltaNorm: proof.meanDeltaNorm,
      conditionedOffPositions: proof.offPromptRows,
      conditionedOffSteps: proof.offSteps,
    };
  });
  return { proofs: fields, warnings };
}

/** Every row that is selected was edited or held off by a condition, and none is held off without one. */
function addsUp({ conditions }: ResolvedIntervention, proof: EditProof, promptRows: number, steps: number): boolean {
  const { offPromptRows, offSteps } = proof;
  if (conditions.length === 0 && offPromptRows + offSteps > 0) return false;
  return proof.promptRows + offPromptRows === promptRows && proof.steps + offSteps === steps;
}

/** A fraction of the norm differs from row to row: its raw strength is the mean length of the step, signed. */
function resolvedStrength({ strength, unit }: Intervention, proof: EditProof): number {
  if (strength === undefined) return 0;
  return unit === StrengthUnit.RESID_NORM_FRACTION ? Math.sign(strength) * proof.meanDeltaNorm : strength;
}
