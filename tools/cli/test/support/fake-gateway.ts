import { create } from "@bufbuild/protobuf";
import { anyPack, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { BatchExplainResultSchema, ExplanationService } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { FeatureIndexSchema, FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { ModelState } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import { OperationSchema, OperationService, OperationState, type Operation } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SaeService, SaeState } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { SteeringService } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { SaeProbingSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/probe";
import { SweepState } from "@mistral-sae/contracts/mistral_sae/training/v1/sweep";
import { ActivationSetSchema, HarvestedActivationsSchema, TrainingRunState, TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { implement, invalidArgument, notFound, startServer, unavailable, type RunningServer } from "@mistral-sae/rpc";

export const SAE = "models/demo-model/saes/demo";

/** What the fake was asked. */
export interface Asked {
  readonly steer: unknown[];
  readonly evaluate: unknown[];
  readonly harvest: unknown[];
  readonly train: unknown[];
  readonly sweep: unknown[];
  readonly probe: unknown[];
  readonly cancelled: string[];
  /** Times that a watch was broken off before it went on. */
  watches: number;
}

/** A server of every service, as the gateway is one, with made-up answers. */
export async function startFakeGateway(): Promise<{ readonly server: RunningServer; readonly asked: Asked }> {
  const asked: Asked = { steer: [], evaluate: [], harvest: [], train: [], sweep: [], probe: [], cancelled: [], watches: 0 };
  const server = await startServer({
    listen: "127.0.0.1:0",
    services: [inference(asked), sae(), training(asked), featureIndex(), explanation(), steering(asked), operations(asked)],
  });
  return { server, asked };
}

function operation(id: string, state: OperationState, done: number, made?: Operation["result"]): Operation {
  return create(OperationSchema, {
    name: `operations/feature-index/${id}`,
    kind: "index-corpus",
    state,
    done: state === OperationState.SUCCEEDED || state === OperationState.FAILED,
    progress: { stage: "encode", doneUnits: BigInt(done), totalUnits: 1000n, unit: "tokens", warnings: ["2 documents are empty"] },
    createTime: timestampFromMs(1_700_000_000_000),
    ...(made === undefined ? {} : { result: made }),
  });
}

const indexMade = { case: "response" as const, value: anyPack(FeatureIndexSchema, create(FeatureIndexSchema, { name: "indexes/a", sae: SAE, nTokens: 1000n, nActivations: 16_000n, dSae: 64, nFeaturesAlive: 60n })) };

function inference(asked: Asked) {
  return implement(InferenceService, {
    getCapabilities: async () => ({ model: { name: "models/demo-model", dModel: 256, nLayers: 6, nCtx: 512 }, limits: { maxContextTokens: 200 } }),
    listModels: async () => ({ models: [{ name: "models/demo-model", state: ModelState.READY, architecture: "MistralForCausalLM", nLayers: 6, dModel: 256, dVocab: 4096, nCtx: 512 }] }),
    async *generate({ prompt, sampling }, { signal }) {
      if (sampling?.maxTokens === 9999) throw invalidArgument("sampling.max_tokens", "got 9999 after 4 prompt tokens, wanted at most 508", "TOKEN_LIMIT");
      signal.addEventListener("abort", () => asked.cancelled.push("generate"));
      yield { event: { case: "started", value: { seed: 1n } } };
      for (let step = 0; step < (sampling?.maxTokens ?? 3); step++) {
        yield { event: { case: "step", value: { variantId: "baseline", step, textDelta: ` ${prompt?.prompt.case === "text" ? prompt.prompt.value.length : 0}` } } };
        if (step > 5) await new Promise((resolve) => setTimeout(resolve, 5));
        if (signal.aborted) return;
      }
      yield { event: { case: "finished", value: { variantId: "baseline" } } };
    },
  });
}

function sae() {
  return implement(SaeService, {
    listSaes: async () => ({ saes: [{ name: SAE, state: SaeState.READY, dIn: 256, dSae: 64, k: 16, architecture: "topk", hookName: "blocks.2.hook_resid_pre" }] }),
    getSae: async ({ name }) => {
      if (name !== SAE) throw notFound(name);
      return { sae: { name, cfgJson: "{}" } };
    },
  });
}

function training(asked: Asked) {
  const states = [TrainingRunState.HARVESTING, TrainingRunState.RUNNING, TrainingRunState.EVALUATING, TrainingRunState.SUCCEEDED];
  const run = (state: TrainingRunState) => ({
    name: "trainingRuns/r1",
    state,
    step: state === TrainingRunState.SUCCEEDED ? 10n : 5n,
    totalSteps: 10n,
    metrics: { step: 5n, nTrainingTokens: 5120n, fvu: 0.2, l0: 16, tokensPerSecond: 1000 },
    saeUri: "/data/r1/sae",
    operation: "operations/training/r1",
    evaluation: { nTokens: 1000n, fvu: 0.09, l0: 16, ceRecovered: 0.99 },
  });
  const sweep = (state: SweepState) => ({
    name: "sweeps/grid",
    state,
    axes: [{ field: "k", values: ["4", "16"] }, { field: "architecture", values: ["topk", "batchtopk"] }],
    results: ([["4", "topk", 0.3], ["4", "batchtopk", 0.2], ["16", "topk", 0.1], ["16", "batchtopk", 0]] as const).map(([k, architecture, fvu], at) => ({
      trainingRun: `trainingRuns/grid-${at + 1}`,
      values: { k, architecture },
      state: fvu === 0 ? "TRAINING_RUN_STATE_QUEUED" : "TRAINING_RUN_STATE_SUCCEEDED",
      step: 50n,
      fvu,
      l0: fvu === 0 ? 0 : Number(k),
      ...(fvu === 0 ? {} : { ceRecovered: 1 - fvu }),
    })),
    operation: "operations/training/grid",
    harvestPasses: 1,
  });
  return implement(TrainingService, {
    createSweep: async (request) => {
      asked.sweep.push(request);
      return { sweep: sweep(SweepState.RUNNING) };
    },
    getSweep: async ({ name }) => {
      if (name !== "sweeps/grid") throw notFound(name);
      return { sweep: sweep(SweepState.SUCCEEDED) };
    },
    listSweeps: async () => ({ sweeps: [sweep(SweepState.RUNNING)] }),
    stopSweep: async () => ({ sweep: sweep(SweepState.STOPPED) }),
    createTrainingRun: async ({ config, validateOnly }) => {
      asked.train.push(config);
      if (config?.k === 0 && config.architecture !== "jumprelu") throw invalidArgument("config.k", "got 0, wanted 1 to d_sae");
      return { trainingRun: { ...run(TrainingRunState.QUEUED), config, warnings: validateOnly ? [] : ["loss spiked at step 3"] } };
    },
    async *watchTrainingRun() {
      // The service is restarted once while it is watched.
      asked.watches++;
      if (asked.watches === 1) {
        yield { trainingRun: run(TrainingRunState.HARVESTING) };
        throw unavailable("SHUTTING_DOWN", "the service stops");
      }
      for (const state of states) yield { trainingRun: run(state) };
    },
    evaluateSae: async (request) => {
      asked.evaluate.push(request);
      return { operation: operation("fails", OperationState.RUNNING, 10) };
    },
    probeSae: async (request) => {
      asked.probe.push(request);
      const task = { name: "letter:s", nTrain: 2000n, nTest: 1000n, residualAccuracy: 0.84, saeAccuracy: 0.96, accuracyByK: { 1: 0.55, 5: 0.62 }, features: [362, 237] };
      const absorption = { meanAbsorptionFraction: 0.25, meanFullAbsorption: 0.5, meanSplitFeatures: 2, letters: [{ letter: "s", nTokens: 419n, absorptionFraction: 0.25, fullAbsorption: 0.5, splitFeatures: [635, 2022], absorbingFeatures: [1618] }] };
      const probing = create(SaeProbingSchema, { tasks: [task], meanAccuracyByK: { 1: 0.55, 5: 0.62 }, meanResidualAccuracy: 0.84, nTokens: 200_000n, absorption });
      return { operation: operation("probe", OperationState.SUCCEEDED, 1000, { case: "response", value: anyPack(SaeProbingSchema, probing) }) };
    },
    importActivations: async (request) => {
      asked.harvest.push(request);
      const set = { name: "activationSets/rows", hookName: request.hookName, width: 24, tokens: 20_000n, shards: 3, sizeBytes: 2_080_000n, uri: "/data/rows" };
      return { operation: operation("import", OperationState.SUCCEEDED, 1000, { case: "response", value: anyPack(ActivationSetSchema, create(ActivationSetSchema, set)) }) };
    },
    listActivationSets: async () => ({ activationSets: [{ name: "activationSets/rows", hookName: "blocks.1.hook_resid_pre", width: 24, tokens: 20_000n, shards: 3, sizeBytes: 2_080_000n }], totalBytes: 2_080_000n }),
    deleteActivationSet: async ({ name }) => {
      if (name !== "activationSets/rows") throw notFound(name);
      return {};
    },
    harvestActivations: async (request) => {
      asked.harvest.push(request);
      const activationSets = request.hookNames.map((hookName, at) => ({ hookName, width: 192 + at, tokens: 51_234n, shards: 3, uri: `/data/activations/${at}` }));
      return { operation: operation("harvest", OperationState.SUCCEEDED, 1000, { case: "response", value: anyPack(HarvestedActivationsSchema, create(HarvestedActivationsSchema, { activationSets })) }) };
    },
  });
}

function featureIndex() {
  return implement(FeatureIndexService, {
    indexCorpus: async () => ({ operation: operation("goes", OperationState.RUNNING, 10) }),
    getFeature: async ({ name }) => {
      const index = Number(name.slice(name.lastIndexOf("/") + 1));
      if (index >= 64) throw invalidArgument("name", `got feature ${index}, wanted 0 to 63`, "FEATURE_OUT_OF_RANGE");
      return { feature: { name, featureIndex: index, fracNonzero: 0.01, nFirings: 12n, maxActivation: 9.5, explanations: [{ description: "ships at sea", explanationType: "local_summary" }], posLogits: [{ strToken: " ship", logit: 2 }] } };
    },
    listFeatures: async ({ pageToken, pageSize }) => {
      const start = Number(pageToken === "" ? 0 : pageToken);
      const size = Math.min(pageSize, 3);
      const features = Array.from({ length: size }, (_, at) => ({ name: `${SAE}/features/${start + at}`, featureIndex: start + at }));
      return { features, nextPageToken: start + size < 10 ? String(start + size) : "" };
    },
    async *query({ sql, parameters }) {
      const encoder = new TextEncoder();
      yield { columnNames: ["a", "word"], data: encoder.encode(`{"a":1,"word":"${parameters["w"] ?? ""}"}\n`), nRows: 1n };
      yield { data: encoder.encode(`{"a":2,"word":${JSON.stringify(sql)}}\n`), nRows: 1n };
    },
  });
}

function explanation() {
  const made = { case: "response" as const, value: anyPack(BatchExplainResultSchema, create(BatchExplainResultSchema, { nOk: 64n })) };
  return implement(ExplanationService, {
    explain: async ({ feature }) => ({ explanation: { name: `${feature}/explanations/a`, description: "ships at sea", explanationType: "local_summary" } }),
    batchExplain: async () => ({ operation: operation("explained", OperationState.SUCCEEDED, 64, made) }),
  });
}

function steering(asked: Asked) {
  return implement(SteeringService, {
    async *steer(request) {
      asked.steer.push(request);
      const [variant] = request.variants;
      const [query] = variant?.queries ?? [];
      if (query !== undefined) yield { resolvedQueries: [{ variantId: "steered", query: query.query, feature: { sae: SAE, featureIndex: 7 }, description: "ships", strength: 0.4 }] };
      for (const [variantId, textDelta] of [["baseline", " a plain day"], ["steered", " a ship sailed"]] as const) {
        yield { event: { event: { case: "step", value: { variantId, step: 0, textDelta } } } };
        yield { event: { event: { case: "finished", value: { variantId, steeringAppliedSteps: variantId === "steered" ? 1 : 0, steeringExpectedSteps: 1 } } } };
      }
    },
  });
}

function operations(asked: Asked) {
  return implement(OperationService, {
    listOperations: async () => ({ operations: [operation("goes", OperationState.RUNNING, 250), operation("done", OperationState.SUCCEEDED, 1000, indexMade)] }),
    getOperation: async ({ name }) => {
      if (!name.endsWith("/done")) throw notFound(name);
      return { operation: operation("done", OperationState.SUCCEEDED, 1000, indexMade) };
    },
    async *watchOperation({ name }, { signal }) {
      if (name.endsWith("/fails")) {
        yield { operation: operation("fails", OperationState.FAILED, 10, { case: "error", value: { $typeName: "google.rpc.Status", code: 9, message: "the corpus holds no held-back document", details: [] } }) };
        return;
      }
      yield { operation: operation("goes", OperationState.RUNNING, 500) };
      yield { operation: operation("goes", OperationState.SUCCEEDED, 1000, indexMade) };
      if (signal.aborted) asked.cancelled.push(name);
    },
    cancelOperation: async ({ name }) => {
      asked.cancelled.push(name);
      return { operation: { name, state: OperationState.CANCELLED } };
    },
  });
}
