import type { MessageInitShape } from "@bufbuild/protobuf";
import { type ForwardRequest, type ForwardResponseSchema, type InferenceService, Reduction } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { Reduction as EngineReduction, ForwardBatch, HookInfo } from "@mistral-sae/model";
import { type Handlers, invalidArgument } from "@mistral-sae/rpc";
import { proveSteering } from "../generation/proof.ts";
import { CHUNK_BYTES } from "../generation/capture.ts";
import { requireReached } from "../interventions/effect.ts";
import { readableHook } from "../interventions/hooks.ts";
import { type PlacedIntervention, placeInterventions, requireRows } from "../interventions/placed.ts";
import { promptMask } from "../interventions/positions.ts";
import { resolveInterventions } from "../interventions/resolve.ts";
import type { LoadedModel } from "../models/loaded-model.ts";
import type { SaeRegistry } from "../saes/sae-registry.ts";
import { ahead } from "../wire/ahead.ts";
import { type Prompt, readPrompts } from "../wire/prompt.ts";
import { residualDType, TensorWriter } from "../wire/tensor.ts";
import { resolveContext } from "./generate.ts";
import type { Parts } from "./parts.ts";
import { runsIn } from "./rows.ts";

type Chunk = MessageInitShape<typeof ForwardResponseSchema>;

/** A Forward request made ready. */
interface Plan {
  readonly prompts: readonly Prompt[];
  /** Positions of each prompt, undefined for all. */
  readonly masks: readonly (Uint8Array | undefined)[];
  readonly hooks: readonly HookInfo[];
  readonly writer: TensorWriter;
  readonly reduction: EngineReduction | undefined;
  readonly placed: readonly (readonly PlacedIntervention[])[];
}

const REDUCTIONS: Readonly<Record<number, EngineReduction | undefined>> = {
  [Reduction.UNSPECIFIED]: undefined,
  [Reduction.LAST]: "last",
  [Reduction.MEAN]: "mean",
  [Reduction.MAX]: "max",
};

/** Forward: residuals of packed prompts, streamed in the order in which they ran. */
export function forwardHandler({ config, models, saes }: Parts): Handlers<typeof InferenceService>["forward"] {
  return async function* forward(request, { signal }) {
    const model = models.use(request.model);
    const leave = model.gate.enter();
    try {
      const plan = await planForward(request, model, saes, config.maxPrompts, signal);
      const batches = model.engine.forward(
        plan.prompts.map(({ ids }, i) => ({ tokens: ids, edits: (plan.placed[i] ?? []).map(({ edit }) => edit) })),
        {
          taps: plan.hooks.map(({ hookName }) => ({ hook: hookName, afterEdits: request.interventions.length > 0 })),
          ...(request.positions === undefined ? {} : { rows: plan.masks }),
          ...(plan.reduction === undefined ? {} : { reduction: plan.reduction }),
          signal,
        },
      );
      for await (const batch of ahead(batches, 1)) {
        yield* chunksOf(batch, plan);
        freeRows(batch);
      }
    } catch (error) {
      throw model.explain(error);
    } finally {
      leave();
    }
  };
}

async function planForward(request: ForwardRequest, model: LoadedModel, saes: SaeRegistry, maxPrompts: number, signal: AbortSignal): Promise<Plan> {
  const { info } = model.engine;
  if (request.prompts.length === 0) throw invalidArgument("prompts", "got none, wanted at least 1");
  if (request.prompts.length > maxPrompts) throw invalidArgument("prompts", `got ${request.prompts.length}, wanted at most ${maxPrompts}`);
  if (request.hookNames.length === 0) throw invalidArgument("hook_names", "got none, wanted at least 1");
  const hooks = request.hookNames.map((name, i) => readableHook(`hook_names[${i}]`, name, info));
  const hookNames = hooks.map(({ hookName }) => hookName);
  const twice = hookNames.findIndex((name, i) => hookNames.indexOf(name) < i);
  if (twice >= 0) throw invalidArgument(`hook_names[${twice}]`, `got ${hookNames[twice]} twice, wanted each hook once`);
  if (!(request.reduction in REDUCTIONS)) throw invalidArgument("reduction", `got ${request.reduction}, wanted LAST, MEAN, MAX or none`);
  const resolved = resolveInterventions("interventions", request.interventions, resolveContext(model, saes));
  requireReached(resolved, hookNames);
  const prompts = await readPrompts((i) => `prompts[${i}]`, request.prompts, model.reader, signal);
  const { positions } = request;
  const masks = prompts.map((prompt) => (positions === undefined ? undefined : promptMask("positions", positions, prompt)));
  if (positions !== undefined && !masks.some((mask) => mask?.includes(1))) {
    throw invalidArgument("positions", "selects no position of any prompt", "SELECTOR_EMPTY");
  }
  const placed = prompts.map((prompt) => placeInterventions(resolved, prompt, { specialIds: model.specialIds, maxTokens: 0 }));
  if (resolved.length > 0) requireRows(placed);
  return { prompts, masks, hooks, writer: new TensorWriter(residualDType("output_dtype", request.outputDtype)), reduction: REDUCTIONS[request.reduction], placed };
}

/** The messages of a batch. Each is valid until the next is asked for. */
function* chunksOf(batch: ForwardBatch, plan: Plan): Generator<Chunk> {
  for (const [i, index] of batch.sequences.entries()) {
    const placed = plan.placed[index] ?? [];
    proveSteering(`prompts[${index}]`, placed, placed.map(() => 0), batch.proofs[i] ?? []);
    const [from, to] = [batch.offsets[i] ?? 0, batch.offsets[i + 1] ?? 0];
    for (const [h, { hookName, width }] of plan.hooks.entries()) {
      const rows = (batch.residuals[h] as Float32Array).subarray(from * width, to * width);
      yield* promptChunks({ promptIndex: index, hookName }, rows, width, plan);
    }
  }
}

/** The rows of one prompt and hook: the one that they were made into, or runs of neighbours. */
function* promptChunks(head: { promptIndex: number; hookName: string }, rows: Float32Array, width: number, { masks, prompts, reduction, writer }: Plan): Generator<Chunk> {
  const mask = masks[head.promptIndex];
  const tokens = prompts[head.promptIndex]?.ids.length ?? 0;
  if (reduction !== undefined) {
    const last = mask === undefined ? tokens - 1 : Math.max(0, mask.lastIndexOf(1));
    yield { ...head, tokenStart: reduction === "last" ? last : 0, tensor: writer.rows(rows, width), last: true };
    return;
  }
  let at = 0;
  for (const { from, to } of runsIn(mask, tokens, Math.max(1, Math.floor(CHUNK_BYTES / (4 * width))))) {
    const end = at + (to - from) * width;
    yield { ...head, tokenStart: from, tensor: writer.rows(rows.subarray(at, end), width), last: end === rows.length };
    at = end;
  }
  // A prompt without a selected position still says that it is done.
  if (rows.length === 0) yield { ...head, tokenStart: 0, tensor: writer.rows(rows, width), last: true };
}

/** The collector would be late: it counts objects, of which these are few and large. */
function freeRows({ residuals }: ForwardBatch): void {
  for (const { buffer } of residuals) if (buffer instanceof ArrayBuffer && !buffer.detached) buffer.transfer(0);
}
