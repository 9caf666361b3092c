import { anyPack, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { create } from "@bufbuild/protobuf";
import { ExplanationService } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { FeatureIndexSchema, FeatureIndexService, IndexState } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { ModelState } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import { OperationService, OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SaeService, SaeState } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { SteeringService } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { TrainingRunState, TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { implement, notFound, type ServiceImplementation } from "@mistral-sae/rpc";

export const SAE = "models/demo-model/saes/demo";
const FEATURES = 200;
const words = ["dragon", "rain", "mother", "seven", "garden", "ship", "friend"];

function feature(index: number) {
  const word = words[index % words.length] ?? "";
  const strTokens = ["Once", " upon", " a", " time", " a", ` ${word}`, " came", "\n", "and", " sat", "."];
  return {
    name: `${SAE}/features/${index}`,
    featureIndex: index,
    hookName: "blocks.2.hook_resid_pre",
    fracNonzero: 0.08 / (index + 1),
    nFirings: BigInt(90_000 - index),
    maxActivation: 20 - index / 20,
    meanActivation: 4.2,
    wDecNorm: 1,
    posLogits: words.map((token, at) => ({ tokenId: at, strToken: ` ${token}`, logit: 3 - at / 3 })),
    negLogits: words.map((token, at) => ({ tokenId: at, strToken: token, logit: -2 + at / 4 })),
    topTokens: [{ tokenId: 1, strToken: ` ${word}`, n: 812n, sumActivation: 9000 }],
    freqHist: { binEdges: Array.from({ length: 21 }, (_, at) => 0.1 * 1.3 ** at), counts: Array.from({ length: 20 }, (_, at) => BigInt(Math.round(4000 * Math.exp(-((at - 8) ** 2) / 12)))) },
    examples: [5, 9].map((at, rank) => ({
      sequenceId: BigInt(rank),
      tokens: { tokenIds: strTokens.map((_, id) => id), strTokens, isSpecial: new Uint8Array() },
      positions: [4, at],
      values: [2, 18 - rank],
      maxActivation: 18 - rank,
      qualifyingTokenIndex: at,
      dataSource: "stories",
    })),
    nearest: [{ featureIndex: (index + 7) % FEATURES, value: 0.61, description: `also about ${word}` }],
    correlated: [{ featureIndex: (index + 1) % FEATURES, value: 0.2 }],
    explanations: [{ name: `${SAE}/features/${index}/explanations/a`, description: `fires on "${word}" <b>&`, explanationType: "local_summary", explanationModel: "" }],
    nFiringsBySource: { stories: 700n },
  };
}

/** A whole system with made-up contents, for the page. */
export function fakeSystem(): readonly ServiceImplementation[] {
  return [
    implement(InferenceService, {
      listModels: async () => ({ models: [{ name: "models/demo-model", state: ModelState.READY, architecture: "MistralForCausalLM", nLayers: 6, dModel: 256, dVocab: 4096, nCtx: 512 }] }),
    }),
    implement(SaeService, {
      listSaes: async () => ({ saes: [{ name: SAE, state: SaeState.READY, dIn: 256, dSae: FEATURES, architecture: "topk", k: 16, hookName: "blocks.2.hook_resid_pre", validation: { fvu: 0.091 } }] }),
    }),
    fakeTraining(),
    implement(FeatureIndexService, {
      listIndexes: async () => ({ indexes: [{ name: "indexes/a", sae: SAE, corpus: "corpora/stories", state: IndexState.READY, dSae: FEATURES, nTokens: 3_000_000n, nActivations: 48_000_000n, nFeaturesAlive: 199n }] }),
      listFeatures: async ({ pageSize, pageToken }) => {
        const start = Number(pageToken === "" ? 0 : pageToken);
        const features = Array.from({ length: pageSize }, (_, at) => feature(start + at));
        return { features, totalSize: BigInt(FEATURES), nextPageToken: start + pageSize < FEATURES ? String(start + pageSize) : "" };
      },
      searchExplanations: async ({ query }) => ({ hits: words.flatMap((word, at) => (word === query ? [{ feature: feature(at), value: 1 }] : [])) }),
      getFeature: async ({ name }) => {
        const index = Number(name.slice(name.lastIndexOf("/") + 1));
        if (index >= FEATURES) throw notFound(name, `got feature ${index}, wanted 0 to ${FEATURES - 1}`);
        return { feature: feature(index) };
      },
      listActivations: async () => ({ activations: feature(3).examples }),
    }),
    implement(ExplanationService, {}),
    fakeSteering(),
    implement(OperationService, {
      listOperations: async () => ({
        operations: [
          {
            name: "operations/feature-index/1",
            kind: "index-corpus",
            state: OperationState.RUNNING,
            progress: { stage: "encode", doneUnits: 400n, totalUnits: 1000n, unit: "tokens" },
            createTime: timestampFromMs(5),
            metadata: anyPack(FeatureIndexSchema, create(FeatureIndexSchema)),
          },
        ],
        unreachable: ["explanation"],
      }),
      cancelOperation: async ({ name }) => ({ operation: { name } }),
    }),
  ];
}

function fakeTraining(): ServiceImplementation {
  const run = { name: "trainingRuns/demo", state: TrainingRunState.SUCCEEDED, step: 100n, totalSteps: 100n, stageSeconds: { harvest: 12, train: 80 }, evaluation: { nTokens: 200_000n, fvu: 0.0841, l0: 15.9, ceRecovered: 0.991, nDead: 3n, deadFraction: 0.0015 } };
  return implement(TrainingService, {
    listTrainingRuns: async () => ({ trainingRuns: [run] }),
    async *watchTrainingRun() {
      const metrics = Array.from({ length: 60 }, (_, at) => ({ step: BigInt(at + 1), fvu: 0.08 + 0.8 * Math.exp(-at / 12), l0: 16, loss: 1 / (at + 1), deadFraction: 0.01, tokensPerSecond: 24_000, lr: 1e-3 }));
      yield { trainingRun: run, metrics };
    },
  });
}

function fakeSteering(): ServiceImplementation {
  return implement(SteeringService, {
    findFeatures: async ({ query }) => ({ features: [{ feature: { sae: SAE, featureIndex: 3 }, description: `about ${query}`, value: 1 }] }),
    async *steer({ variants }) {
      const ids = ["baseline", ...variants.map(({ variantId }) => variantId)];
      for (let step = 0; step < 6; step++) {
        for (const variantId of ids) {
          const textDelta = variantId === "baseline" ? ` plain${step}` : ` dragon${step}`;
          yield { event: { event: { case: "step", value: { variantId, step, textDelta, ...(variantId === "baseline" ? {} : { klFromBaseline: step }) } } } };
        }
      }
      for (const variantId of ids) yield { event: { event: { case: "finished", value: { variantId, steeringAppliedSteps: 6, steeringExpectedSteps: 6, proofs: [] } } } };
    },
  });
}
