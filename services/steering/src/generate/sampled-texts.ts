import type { MessageInitShape } from "@bufbuild/protobuf";
import type { GenerateRequestSchema, GenerateStep, InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { type Client, internal } from "@mistral-sae/rpc";

/** A text that a variant wrote. */
export interface SampledText {
  readonly text: string;
  readonly promptIds: readonly number[];
  readonly tokenIds: readonly number[];
  readonly appliedSteps: number;
  readonly expectedSteps: number;
  /** Mean length of the first intervention's edit; 0 without one. */
  readonly deltaNorm: number;
  /** Mean KL from the first variant a token, where it was asked for. */
  readonly meanKl: number | undefined;
}

/**
 * Runs one Generate and collects each variant's text. Throws INTERNAL STEERING_NOT_APPLIED when a variant's proof
 * does not add up, and whatever the inference service throws.
 */
export async function sampleTexts(
  inference: Client<typeof InferenceService>,
  request: MessageInitShape<typeof GenerateRequestSchema>,
  signal: AbortSignal,
  onStep: (step: GenerateStep) => void = () => undefined,
): Promise<Map<string, SampledText>> {
  const open = new Map<string, { text: string; tokenIds: number[]; kl: number; klSteps: number }>();
  const done = new Map<string, SampledText>();
  let promptIds: readonly number[] = [];
  for await (const { event } of inference.generate(request, { signal })) {
    if (event.case === "started") {
      promptIds = event.value.prompt?.tokenIds ?? [];
    } else if (event.case === "step") {
      const { variantId, textDelta, tokenId, klFromBaseline } = event.value;
      onStep(event.value);
      const entry = open.get(variantId) ?? { text: "", tokenIds: [], kl: 0, klSteps: 0 };
      open.set(variantId, entry);
      entry.text += textDelta;
      entry.tokenIds.push(tokenId);
      if (klFromBaseline !== undefined) {
        entry.kl += klFromBaseline;
        entry.klSteps += 1;
      }
    } else if (event.case === "finished") {
      const { variantId, steeringAppliedSteps, steeringExpectedSteps, proofs } = event.value;
      proveSteering(variantId, steeringAppliedSteps, steeringExpectedSteps);
      const { text = "", tokenIds = [], kl = 0, klSteps = 0 } = open.get(variantId) ?? {};
      done.set(variantId, {
        text,
        promptIds,
        tokenIds,
        appliedSteps: steeringAppliedSteps,
        expectedSteps: steeringExpectedSteps,
        deltaNorm: proofs[0]?.meanDeltaNorm ?? 0,
        meanKl: klSteps === 0 ? undefined : kl / klSteps,
      });
    }
  }
  return done;
}

/** Throws INTERNAL STEERING_NOT_APPLIED unless every step that had to be edited was. */
export function proveSteering(variantId: string, applied: number, expected: number): void {
  if (applied === expected) return;
  throw internal("STEERING_NOT_APPLIED", `variant "${variantId}" was edited at ${applied} decoding steps, wanted ${expected}`);
}
