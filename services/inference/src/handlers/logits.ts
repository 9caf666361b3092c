import type { InferenceService, TopLogits } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TopLogitsSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { Intervention } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { LogitsOptions, LogitsResult } from "@mistral-sae/model";
import { type Handlers, invalidArgument } from "@mistral-sae/rpc";
import type { Tokenizer } from "@mistral-sae/tokenizer";
import { proveSteering } from "../generation/proof.ts";
import { readableHook, siteIndex } from "../interventions/hooks.ts";
import { placeInterventions, requireRows } from "../interventions/placed.ts";
import { positionIn } from "../interventions/positions.ts";
import { resolveInterventions } from "../interventions/resolve.ts";
import type { LoadedModel } from "../models/loaded-model.ts";
import type { SaeRegistry } from "../saes/sae-registry.ts";
import { type Prompt, readPrompt } from "../wire/prompt.ts";
import { floatTensor } from "../wire/tensor.ts";
import { resolveContext } from "./generate.ts";
import type { Parts } from "./parts.ts";

/** Whole rows of logits in one answer at most, bytes: a reply stays below the usual limit of 4 MiB. */
const MOST_LOGIT_BYTES = 3 << 20;
const LENS_TOP = 10;

/** GetLogits and LogitLens. */
export function logitHandlers({ models, saes }: Parts): Pick<Handlers<typeof InferenceService>, "getLogits" | "logitLens"> {
  return {
    getLogits: async (request, { signal }) => {
      const model = models.use(request.model);
      const leave = model.gate.enter();
      try {
        const { info } = model.engine;
        const prompt = await readPrompt("prompt", request.prompt, model.reader, signal);
        const positions = readPositions(request.positions, prompt.ids.length);
        requireTop(request.topK, info.dVocab);
        const most = Math.floor(MOST_LOGIT_BYTES / (4 * info.dVocab));
        if (request.topK === 0 && positions.length > most) {
          throw invalidArgument("positions", `got ${positions.length}, wanted at most ${most} whole rows of ${info.dVocab} logits in one answer, or top_k`, "TOKEN_LIMIT");
        }
        const result = await promptLogits(saes, model, prompt, request.interventions, { positions, signal, ...(request.topK === 0 ? {} : { topK: request.topK }) });
        if (request.topK > 0) return { top: topLogits(result, request.topK, model.tokenizer) };
        return { logits: floatTensor(result.logits, [positions.length, info.dVocab]) };
      } catch (error) {
        throw model.explain(error);
      } finally {
        leave();
      }
    },

    logitLens: async (request, { signal }) => {
      const model = models.use(request.model);
      const leave = model.gate.enter();
      try {
        const { info } = model.engine;
        const named = request.hookNames.map((name, i) => readableHook(`hook_names[${i}]`, name, info).hookName);
        const off = named.findIndex((name) => siteIndex(name) === undefined);
        if (off >= 0) throw invalidArgument(`hook_names[${off}]`, `got ${named[off]}, wanted a hook of the residual stream`);
        const hooks = named.length > 0 ? named : Array.from({ length: info.nLayers }, (_, layer) => `blocks.${layer}.hook_resid_post`);
        hooks.sort((a, b) => (siteIndex(a) ?? 0) - (siteIndex(b) ?? 0));
        requireTop(request.topK, info.dVocab);
        const topK = request.topK === 0 ? LENS_TOP : request.topK;
        const prompt = await readPrompt("prompt", request.prompt, model.reader, signal);
        const positions = readPositions(request.positions, prompt.ids.length);
        const layers = [];
        for (const hook of hooks) {
          const result = await model.engine.logits({ tokens: prompt.ids }, { positions, topK, hook, signal });
          layers.push({ hookName: hook, top: topLogits(result, topK, model.tokenizer) });
        }
        return { layers };
      } catch (error) {
        throw model.explain(error);
      } finally {
        leave();
      }
    },
  };
}

/** Logits of one prompt under interventions, which are proved to have been applied. */
export async function promptLogits(saes: SaeRegistry, model: LoadedModel, prompt: Prompt, interventions: readonly Intervention[], options: LogitsOptions): Promise<LogitsResult> {
  const resolved = resolveInterventions("interventions", interventions, resolveContext(model, saes));
  const placed = placeInterventions(resolved, prompt, { specialIds: model.specialIds, maxTokens: 0 });
  requireRows([placed]);
  const result = await model.engine.logits({ tokens: prompt.ids, edits: placed.map(({ edit }) => edit) }, options);
  proveSteering("prompt", placed, placed.map(() => 0), result.proofs);
  return result;
}

function readPositions(positions: readonly number[], n: number): number[] {
  if (positions.length === 0) return [n - 1];
  return positions.map((position, i) => positionIn(`positions[${i}]`, position, n));
}

function requireTop(topK: number, dVocab: number): void {
  if (topK > dVocab) throw invalidArgument("top_k", `got ${topK}, wanted at most ${dVocab}, the vocabulary`);
}

function topLogits({ positions, topIds, topLogits: logits, logSumExp }: LogitsResult, topK: number, tokenizer: Tokenizer): MessageInitShape<typeof TopLogitsSchema>[] {
  return Array.from(positions, (position, row) => ({
    position,
    logSumExp: logSumExp[row] ?? Number.NaN,
    tokens: Array.from({ length: topK }, (_, i): Omit<TopLogits["tokens"][number], "$typeName"> => {
      const tokenId = topIds[row * topK + i] ?? 0;
      return { tokenId, logit: logits[row * topK + i] ?? Number.NaN, strToken: tokenizer.strToken(tokenId) };
    }),
  }));
}
