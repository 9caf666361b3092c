import type { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { Handlers } from "@mistral-sae/rpc";
import { forwardHandler } from "./forward.ts";
import { generateHandler } from "./generate.ts";
import { logitHandlers } from "./logits.ts";
import { modelHandlers } from "./models.ts";
import type { Parts } from "./parts.ts";
import { scoreHandler } from "./score.ts";
import { tokenHandlers } from "./tokens.ts";

/** Every method of InferenceService. */
export function inferenceHandlers(parts: Parts): Handlers<typeof InferenceService> {
  return {
    ...modelHandlers(parts),
    ...tokenHandlers(parts),
    ...logitHandlers(parts),
    generate: generateHandler(parts),
    forward: forwardHandler(parts),
    scoreTokens: scoreHandler(parts),
  };
}
