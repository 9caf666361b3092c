import type { MessageInitShape } from "@bufbuild/protobuf";
import { type Intervention, StrengthUnit } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { InterventionProofSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { EditProof } from "@mistral-sae/model";
import { internal } from "@mistral-sae/rpc";
import type { PlacedIntervention } from "../interventions/placed.ts";

type ProofFields = MessageInitShape<typeof InterventionProofSchema>;

/** What the edits of one sequence did, beside what they had to do. */
export interface Proven {
  readonly proofs: readonly ProofFields[];
  readonly warnings: readonly string[];
}

/**
 * Holds the engine's proofs against what was asked for.
 *
 * @param expectedSteps decoding steps that each intervention had to edit.
 * @throws INTERNAL STEERING_NOT_APPLIED when one edited more or fewer rows than it had to.
 */
export function proveSteering(where: string, placed: readonly PlacedIntervention[], expectedSteps: readonly number[], proofs: readonly EditProof[]): Proven {
  const warnings: string[] = [];
  const fields = placed.map(({ source, promptRows }, i): ProofFields => {
    const proof = proofs[i];
    const wanted = expectedSteps[i] ?? 0;
    if (proof === undefined || proof.id !== source.id || proof.promptRows !== promptRows || proof.steps !== wanted) {
      throw internal(
        "STEERING_NOT_APPLIED",
        `${where}: intervention ${JSON.stringify(source.id)} had to edit ${promptRows} prompt rows and ${wanted} steps, the engine reports ` +
          (proof === undefined ? "nothing" : `${proof.promptRows} and ${proof.steps}`),
      );
    }
    const rows = proof.promptRows + proof.steps;
    if (rows === 0) {
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
      expectedSteps: wanted,
      meanDeltaNorm: proof.meanDeltaNorm,
    };
  });
  return { proofs: fields, warnings };
}

/** A fraction of the norm differs from row to row: its raw strength is the mean length of the step, signed. */
function resolvedStrength({ strength, unit }: Intervention, proof: EditProof): number {
  if (strength === undefined) return 0;
  return unit === StrengthUnit.RESID_NORM_FRACTION ? Math.sign(strength) * proof.meanDeltaNorm : strength;
}
