import type { MessageInitShape } from "@bufbuild/protobuf";
import { type ForwardRequest, type ForwardResponseSchema, type InferenceService, Reduction } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { ForwardBatch } from "@mistral-sae/model";
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
import { floatTensor, residualDType, type ResidualDType } from "../wire/tensor.ts";
import { resolveContext } from "./generate.ts";
import type { Parts } from "./parts.ts";
import { gatherRows, reduceRows, type RowRun, runsIn } from "./rows.ts";

type Chunk = MessageInitShape<typeof ForwardResponseSchema>;

/** A Forward request made ready. */
interface Plan {
  readonly prompts: readonly Prompt[];
  /** Positions of each prompt, undefined for all. */
  readonly masks: readonly (Uint8Array | undefined)[];
  readonly hookNames: readonly string[];
  readonly dtype: ResidualDType;
  readonly reduction: Reduction;
  readonly placed: readonly (readonly PlacedIntervention[])[];
}

/** Forward: residuals of packed prompts, streamed in the order in which they ran. */
export function forwardHandler({ config, models, saes }: Parts): Handlers<typeof InferenceService>["forward"] {
  return async function* forward(request, { signal }) {
    const model = models.use(request.model);
    const leave = model.gate.enter();
    try {
      const plan = await planForward(request, model, saes, config.maxPrompts, signal);
      const batches = model.engine.forward(
        plan.prompts.map(({ ids }, i) => ({ tokens: ids, edits: (plan.placed[i] ?? []).map(({ edit }) => edit) })),
        { taps: plan.hookNames.map((hook) => ({ hook, afterEdits: request.interventions.length > 0 })), signal },
      );
      for await (const batch of ahead(batches, 1)) yield* chunksOf(batch, plan, model.engine.info.dModel);
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
  const hookNames = request.hookNames.map((name, i) => readableHook(`hook_names[${i}]`, name, info).hookName);
  const twice = hookNames.findIndex((name, i) => hookNames.indexOf(name) < i);
  if (twice >= 0) throw invalidArgument(`hook_names[${twice}]`, `got ${hookNames[twice]} twice, wanted each hook once`);
  if (!Object.values<number>(Reduction).includes(request.reduction)) throw invalidArgument("reduction", `got ${request.reduction}, wanted LAST, MEAN, MAX or none`);
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
  return { prompts, masks, hookNames, dtype: residualDType("output_dtype", request.outputDtype), reduction: request.reduction, placed };
}

function* chunksOf(batch: ForwardBatch, plan: Plan, width: number): Generator<Chunk> {
  for (const [i, index] of batch.sequences.entries()) {
    const placed = plan.placed[index] ?? [];
    proveSteering(`prompts[${index}]`, placed, placed.map(() => 0), batch.proofs[i] ?? []);
    const first = batch.offsets[i] ?? 0;
    const rows = (batch.offsets[i + 1] ?? 0) - first;
    for (const [h, hookName] of plan.hookNames.entries()) {
      const all = (batch.residuals[h] as Float32Array).subarray(first * width, (first + rows) * width);
      yield* promptChunks({ promptIndex: index, hookName }, all, plan, width);
    }
  }
}

function* promptChunks(head: { promptIndex: number; hookName: string }, all: Float32Array, plan: Plan, width: number): Generator<Chunk> {
  const { dtype, reduction } = plan;
  const rows = all.length / width;
  const mask = plan.masks[head.promptIndex];
  if (reduction !== Reduction.UNSPECIFIED) {
    const selected = mask === undefined ? all : gatherRows(all, mask, width);
    const reduced = reduceRows(selected, width, reduction);
    const last = mask === undefined ? rows - 1 : mask.lastIndexOf(1);
    const tensor = floatTensor(reduced ?? new Float32Array(), [reduced === undefined ? 0 : 1, width], dtype);
    yield { ...head, tokenStart: reduction === Reduction.LAST ? Math.max(0, last) : 0, tensor, last: true };
    return;
  }
  const most = Math.max(1, Math.floor(CHUNK_BYTES / (4 * width)));
  let before: RowRun | undefined;
  for (const run of runsIn(mask, rows, most)) {
    if (before !== undefined) yield rowsMessage(head, all, before, width, dtype, false);
    before = run;
  }
  // A prompt without a selected position still says that it is done.
  yield rowsMessage(head, all, before ?? { from: 0, to: 0 }, width, dtype, true);
}

function rowsMessage(head: { promptIndex: number; hookName: string }, all: Float32Array, { from, to }: RowRun, width: number, dtype: ResidualDType, last: boolean): Chunk {
  return { ...head, tokenStart: from, tensor: floatTensor(all.subarray(from * width, to * width), [to - from, width], dtype), last };
}
