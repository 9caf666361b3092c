import { create, fromJson, toJson } from "@bufbuild/protobuf";
import { PLACE_BYTES } from "@mistral-sae/activations";
import { corpusFingerprint, openCorpus } from "@mistral-sae/corpus";
import { HarvestActivationsRequestSchema, HarvestedActivationsSchema, type HarvestActivationsRequest, type HarvestedActivations } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { defineJob, type Job, type JobContext } from "@mistral-sae/jobs";
import { failedPrecondition } from "@mistral-sae/rpc";
import { DTYPE_BYTES } from "@mistral-sae/tensor";
import { join } from "node:path";
import { setName } from "../activations/set-catalogue.ts";
import type { HarvestPlan } from "../harvest/harvest-plan.ts";
import { resolveHarvest, type ResolvedHarvest } from "../harvest/resolve-harvest.ts";
import { InferencePeer } from "../peer/inference-peer.ts";
import { Stage } from "../runs/run-message.ts";
import { corpusSourceOf } from "../wire/corpus-source.ts";
import { harvestStage, harvestText, requireSameCorpus } from "./harvest-stage.ts";
import { stageListener } from "./stage-listener.ts";
import type { JobDependencies } from "./train-job.ts";

export const HARVEST_KIND = "harvest-activations";

/** What is fixed when the work begins, so that it goes on with the same after a crash. */
interface FixedHarvest extends ResolvedHarvest {
  /** Fingerprint. */
  readonly corpus: string;
}

/** Harvests several hooks in one pass and takes up where it was stopped: the rows that training runs read later. */
export function harvestJob(dependencies: JobDependencies): Job {
  return defineJob({
    kind: HARVEST_KIND,
    input: HarvestActivationsRequestSchema,
    output: HarvestedActivationsSchema,
    plan: async (input, ctx) => [await fixed(input, ctx, dependencies)],
    run: async (harvest: FixedHarvest, ctx) => toJson(HarvestedActivationsSchema, await harvested(harvest, ctx, dependencies)),
    reduce: async (_input, [result]) => await Promise.resolve(fromJson(HarvestedActivationsSchema, result ?? {})),
  });
}

async function fixed(input: HarvestActivationsRequest, ctx: JobContext<HarvestActivationsRequest>, { inference, patienceMs }: JobDependencies): Promise<FixedHarvest> {
  ctx.progress({ stage: Stage.harvest, doneUnits: 0, unit: "tokens" });
  const patience = { signal: ctx.signal, giveUpAfterMs: patienceMs, onAway: (error: Error) => ctx.warn(`the inference service was away: ${error.message}`) };
  const capabilities = await new InferencePeer(inference, input.model, patience).capabilities();
  return { ...resolveHarvest(input, capabilities), corpus: await corpusFingerprint(await openCorpus(corpusSourceOf(input.corpus)), ctx.signal) };
}

async function harvested({ model, hooks, contextSize, dtype, corpus }: FixedHarvest, ctx: JobContext<HarvestActivationsRequest>, dependencies: JobDependencies): Promise<HarvestedActivations> {
  const { input } = ctx;
  const { folder, inference, patienceMs, shardBytes } = dependencies;
  const source = corpusSourceOf(input.corpus);
  await requireSameCorpus(source, corpus, ctx.name, ctx.signal);
  const plan: HarvestPlan = {
    store: folder.activations,
    text: harvestText(model, { corpus, contextSize, dtype }, shardBytes),
    hooks,
    corpus: source,
    bosTokenId: model.bosTokenId,
    rowsWanted: input.tokens === 0n ? Infinity : Number(input.tokens),
  };
  await dependencies.disk.makeRoom(plan, 0);
  const done = await harvestStage(plan, { address: inference, model: model.name, patienceMs }, stageListener(ctx));
  if (done.hooks.some(({ rows }) => rows === 0)) throw failedPrecondition("CORPUS_TOO_SMALL", "the corpus gives no rows: each of its documents is held back or empty, give more text");
  if (done.emptyTexts > 0) ctx.warn(`${done.emptyTexts} records of the corpus have an empty text and were left out`);
  return create(HarvestedActivationsSchema, {
    activationSets: done.hooks.map(({ hookName, width, rows, shards, folder: key }) => {
      const sizeBytes = rows * (width * DTYPE_BYTES[dtype] + PLACE_BYTES);
      return { name: setName(key), hookName, width, tokens: BigInt(rows), shards: shards.length, uri: join(folder.activations.root, key), sizeBytes: BigInt(sizeBytes) };
    }),
    model: model.name,
    contextSize,
  });
}
