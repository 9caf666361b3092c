import type { Intervention } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { PromptInput } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import type { SteeringService } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { Code, type Handlers, RpcError } from "@mistral-sae/rpc";
import type { Peers } from "../peers.ts";
import { resolveInterventions } from "../resolve/interventions.ts";
import { promptPositions, type ReadPrompt } from "../resolve/prompt-positions.ts";
import type { Parts } from "./parts.ts";

/** Codes that say that an intervention is at fault, and not the system or the rest of the request. */
const refusals = new Set<Code>([Code.InvalidArgument, Code.NotFound, Code.FailedPrecondition, Code.Unimplemented]);

/**
 * ValidateSteering: each intervention by itself is resolved here and then by inference, which says at the start of a
 * generation, before anything is computed for it, what it has made of it or why it refuses.
 */
export function validateHandler({ peers, store }: Parts): Handlers<typeof SteeringService>["validateSteering"] {
  return async ({ model, prompt, interventions }, { signal }) => {
    const read = prompt === undefined ? undefined : await readPrompt(peers, model, prompt, signal);
    const checked = [];
    for (const [i, intervention] of interventions.entries()) {
      try {
        const resolved = await resolveInterventions([intervention], "interventions", peers, store, signal);
        for (const one of await askInference(peers, model, prompt, resolved, signal)) {
          checked.push({ intervention: one, promptPositions: read === undefined ? [] : promptPositions(one.positions, read) });
        }
      } catch (error) {
        if (!(error instanceof RpcError) || !refusals.has(error.code)) throw error;
        const refusalReason = error.message.replaceAll("variants[0].interventions[0]", `interventions[${i}]`).replaceAll("interventions[0]", `interventions[${i}]`);
        checked.push({ intervention, refusalReason });
      }
    }
    return { interventions: checked };
  };
}

async function askInference(peers: Peers, model: string, prompt: PromptInput | undefined, interventions: Intervention[], signal: AbortSignal): Promise<readonly Intervention[]> {
  const stop = new AbortController();
  const request = {
    model,
    prompt: prompt ?? { prompt: { case: "text" as const, value: "The" } },
    // Two tokens: the first one is read again, as those of a longer text are.
    sampling: { maxTokens: 2 },
    variants: [{ variantId: "checked", interventions }],
  };
  try {
    for await (const { event } of peers.inference.generate(request, { signal: AbortSignal.any([signal, stop.signal]) })) {
      if (event.case === "started") return event.value.resolvedVariants[0]?.interventions ?? interventions;
    }
    return interventions;
  } finally {
    stop.abort();
  }
}

async function readPrompt(peers: Peers, model: string, prompt: PromptInput, signal: AbortSignal): Promise<ReadPrompt> {
  if (prompt.prompt.case === "chat") {
    const { tokens, spans } = await peers.inference.applyChatTemplate({ model, chat: prompt.prompt.value }, { signal });
    return { tokenIds: tokens?.tokenIds ?? [], isSpecial: tokens?.isSpecial ?? new Uint8Array(), spans };
  }
  const { sequences } = await peers.inference.tokenize({ model, prompts: [prompt] }, { signal });
  return { tokenIds: sequences[0]?.tokenIds ?? [], isSpecial: sequences[0]?.isSpecial ?? new Uint8Array(), spans: [] };
}
