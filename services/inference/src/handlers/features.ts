import { SaeSide, type SaeService } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { type Handlers, invalidArgument } from "@mistral-sae/rpc";
import { floatTensor, readFloats, u32Tensor } from "../wire/tensor.ts";
import type { Parts } from "./parts.ts";

const MOST_DIRECTIONS = 128;
const DEFAULT_TOP = 10;
const MOST_TOP = 1000;
const MOST_NEIGHBOURS = 100;
/** Features of one message of GetFeatureLogits: 160 kB at the default of ten tokens a side. */
const FEATURES_A_MESSAGE = 1024;

type Names = "getDirections" | "nearestFeatures" | "getFeatureLogits" | "getFeatureNeighbours";

/** The handlers that read an SAE's rows. */
export function featureHandlers({ saes }: Parts): Pick<Handlers<typeof SaeService>, Names> {
  return {
    getDirections: async ({ sae: name, featureIndices, side }) => {
      const { model, sae } = saes.useWithModel("sae", name);
      const n = featureIndices.length;
      if (n === 0 || n > MOST_DIRECTIONS) throw invalidArgument("feature_indices", `got ${n}, wanted 1 to ${MOST_DIRECTIONS}`);
      for (const [i, feature] of featureIndices.entries()) requireFeature(`feature_indices[${i}]`, feature, sae.dSae);
      const rows = await model.engine.directions(sae.engineName, featureIndices, sideOf(side));
      return { directions: floatTensor(rows, [n, rows.length / n]) };
    },

    nearestFeatures: async ({ sae: name, query, side, topK }) => {
      const { model, sae } = saes.useWithModel("sae", name);
      if (topK > MOST_TOP) throw invalidArgument("top_k", `got ${topK}, wanted at most ${MOST_TOP}`);
      let asked: number | Float32Array;
      if (query.case === "featureIndex") {
        asked = requireFeature("feature_index", query.value, sae.dSae);
      } else if (query.case === "vector") {
        asked = readFloats("vector", query.value, [model.engine.info.dModel]);
        if (asked.every((value) => value === 0)) throw invalidArgument("vector", "got a vector of zeros, wanted a direction", "DIRECTION_ZERO");
      } else {
        throw invalidArgument("query", "is not set, wanted feature_index or vector");
      }
      const leave = model.gate.enter();
      try {
        const found = await model.engine.nearest(sae.engineName, asked, { side: sideOf(side), topK: topK === 0 ? DEFAULT_TOP : topK });
        return { neighbours: found.map(({ feature, cosine }) => ({ feature: { sae: name, featureIndex: feature }, cosine })) };
      } catch (error) {
        throw model.explain(error);
      } finally {
        leave();
      }
    },

    async *getFeatureLogits(request, { signal }) {
      const { model, sae } = saes.useWithModel("sae", request.sae);
      const { featureStart, featureEnd } = requireRange(request, sae.dSae);
      const topK = request.topK === 0 ? DEFAULT_TOP : request.topK;
      const most = Math.min(MOST_TOP, model.engine.info.dVocab);
      if (topK > most) throw invalidArgument("top_k", `got ${topK}, wanted at most ${most}`);
      const count = Math.max(1, Math.floor((FEATURES_A_MESSAGE * DEFAULT_TOP) / Math.max(topK, DEFAULT_TOP)));
      const leave = model.gate.enter();
      try {
        for (let start = featureStart; start < featureEnd; start += count) {
          const end = Math.min(featureEnd, start + count);
          const shape = [end - start, topK];
          const logits = await model.engine.featureLogits(sae.engineName, start, end, { topK, signal });
          yield {
            featureStart: start,
            topK,
            posTokenIds: u32Tensor(logits.posTokenIds, [...shape]),
            posLogits: floatTensor(logits.posLogits, [...shape]),
            negTokenIds: u32Tensor(logits.negTokenIds, [...shape]),
            negLogits: floatTensor(logits.negLogits, [...shape]),
          };
        }
      } catch (error) {
        throw model.explain(error);
      } finally {
        leave();
      }
    },

    async *getFeatureNeighbours(request, { signal }) {
      const { model, sae } = saes.useWithModel("sae", request.sae);
      const { featureStart, featureEnd } = requireRange(request, sae.dSae);
      if (request.topK > MOST_NEIGHBOURS) throw invalidArgument("top_k", `got ${request.topK}, wanted at most ${MOST_NEIGHBOURS}`);
      const options = { side: sideOf(request.side), topK: request.topK === 0 ? DEFAULT_TOP : request.topK, signal };
      const leave = model.gate.enter();
      try {
        for (let start = featureStart; start < featureEnd; start += FEATURES_A_MESSAGE) {
          const end = Math.min(featureEnd, start + FEATURES_A_MESSAGE);
          const { topK, features, cosines, norms } = await model.engine.neighbours(sae.engineName, start, end, options);
          const shape = [end - start, topK];
          yield { featureStart: start, topK, featureIndices: u32Tensor(features, [...shape]), cosines: floatTensor(cosines, [...shape]), norms: floatTensor(norms, [end - start]) };
        }
      } catch (error) {
        throw model.explain(error);
      } finally {
        leave();
      }
    },
  };
}

/** The range asked for, its end filled in. */
function requireRange({ featureStart, featureEnd: asked }: { readonly featureStart: number; readonly featureEnd: number }, dSae: number): { readonly featureStart: number; readonly featureEnd: number } {
  const featureEnd = asked === 0 ? dSae : asked;
  if (featureEnd > dSae) throw invalidArgument("feature_end", `got ${featureEnd}, wanted at most ${dSae}`, "FEATURE_OUT_OF_RANGE");
  if (featureStart >= featureEnd) throw invalidArgument("feature_start", `got ${featureStart}, wanted less than feature_end (${featureEnd})`, "FEATURE_OUT_OF_RANGE");
  return { featureStart, featureEnd };
}

function requireFeature(field: string, feature: number, dSae: number): number {
  if (feature >= dSae) throw invalidArgument(field, `got ${feature}, wanted less than ${dSae}`, "FEATURE_OUT_OF_RANGE");
  return feature;
}

function sideOf(side: SaeSide): "decoder" | "encoder" {
  if (side === SaeSide.ENCODER) return "encoder";
  if (side === SaeSide.DECODER || side === SaeSide.UNSPECIFIED) return "decoder";
  throw invalidArgument("side", `got ${side}, wanted DECODER or ENCODER`);
}
