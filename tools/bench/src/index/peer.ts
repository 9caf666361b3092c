import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { SaeService, SaeState } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { implement, notFound, type RunningServer, startServer } from "@mistral-sae/rpc";
import { bytesOf, f32FromBf16 } from "@mistral-sae/tensor";
import { synthesiseMisses } from "./misses.ts";
import { BOS, direction, FIRST_WORD, hash, logits, rowsFor, type Shape, SyntheticCodes, tokenId, tokenText } from "./synthetic.ts";

export const MODEL = "models/bench";
export const SAE = "models/bench/saes/bench";

/** A model and an SAE that are arithmetic, behind the real contracts. */
export interface SyntheticPeer extends RunningServer {
  /** Time that it spent on making codes, milliseconds: a model's and an encoder's own. */
  readonly spent: { encodeMs: number };
}

export async function startSyntheticPeer(shape: Shape): Promise<SyntheticPeer> {
  const { dSae, dIn, dVocab, k } = shape;
  const codes = new SyntheticCodes(shape);
  const spent = { encodeMs: 0 };
  const inference = implement(InferenceService, {
    getCapabilities: async ({ model }) => {
      if (model !== "" && model !== MODEL) throw notFound(model);
      return await Promise.resolve({ model: { name: MODEL, digest: "bench-model", dVocab, bosTokenId: BOS, nCtx: 4096 } });
    },
    tokenize: async ({ prompts, withStrTokens }) => {
      const sequences = prompts.map(({ prompt, prependBos }) => {
        const own = prompt.case === "text" ? prompt.value.split(" ").map(tokenId) : prompt.case === "tokens" ? prompt.value.tokenIds : [];
        const ids = prompt.case === "text" && prependBos !== false ? [BOS, ...own] : own;
        return { tokenIds: ids, strTokens: withStrTokens ? ids.map(tokenText) : [], isSpecial: specialBits(ids) };
      });
      return await Promise.resolve({ sequences });
    },
    detokenize: async ({ sequences }) =>
      await Promise.resolve({ texts: sequences.map(({ tokenIds }) => tokenIds.map(tokenText).join("")), sequences: sequences.map(({ tokenIds }) => ({ tokenIds, strTokens: tokenIds.map(tokenText), isSpecial: specialBits(tokenIds) })) }),
  });
  const saes = implement(SaeService, {
    getSae: async ({ name }) => {
      if (name !== SAE) throw notFound(name);
      return await Promise.resolve({ sae: { name, dSae, dIn, k, digest: "bench-sae", hookName: "blocks.16.hook_resid_post", state: SaeState.READY } });
    },
    async *encode(requests) {
      let half = false;
      let first = true;
      for await (const request of requests) {
        const began = performance.now();
        if (first) half = request.activationDtype === DataType.BF16;
        first = false;
        const sequences = request.input.case === "sequences" ? request.input.value.sequences : [];
        const nTokens = sequences.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
        const rows = rowsFor(nTokens, k);
        let at = 0;
        for (const { tokenIds } of sequences) {
          codes.window(tokenIds, rows, at);
          at += tokenIds.length;
        }
        const activations = half ? bytesOf(rows.acts) : bytesOf(f32FromBf16(rows.acts, new Float32Array(rows.acts.length)));
        spent.encodeMs += performance.now() - began;
        const missed = request.nearMisses === 0 ? {} : synthesiseMisses(shape, rows, nTokens, request.nearMisses);
        yield { chunkId: request.chunkId, ...missed, code: { nTokens, k, dSae, featureIndices: bytesOf(rows.indices) as Uint8Array<ArrayBuffer>, activations: activations as Uint8Array<ArrayBuffer>, activationDtype: half ? DataType.BF16 : DataType.F32 } };
      }
    },
    getDirections: async ({ featureIndices }) => await Promise.resolve({ directions: floats(featureIndices.flatMap((feature) => [...direction(feature, dIn)]), [featureIndices.length, dIn]) }),
    nearestFeatures: async ({ query, topK }) => {
      const feature = query.case === "featureIndex" ? query.value : 0;
      const near = Array.from({ length: topK === 0 ? 10 : topK }, (_, i) => ({ feature: { featureIndex: hash(feature, i, 41) % dSae }, cosine: 0.9 - 0.05 * i }));
      return await Promise.resolve({ neighbours: near });
    },
    async *getFeatureNeighbours({ featureStart, featureEnd, topK, side }) {
      for (let start = featureStart; start < featureEnd; start += 1024) {
        const features = Array.from({ length: Math.min(1024, featureEnd - start) }, (_, i) => start + i);
        const near = features.flatMap((feature) => Array.from({ length: topK }, (_, i) => ({ feature: hash(feature, i, 41 + side) % dSae, cosine: 0.9 - 0.05 * i })));
        const dims = [features.length, topK];
        yield await Promise.resolve({
          featureStart: start,
          topK,
          featureIndices: ids(near.map((other) => other.feature), dims),
          cosines: floats(near.map(({ cosine }) => cosine), dims),
          norms: floats(features.map(() => 1), [features.length]),
        });
      }
    },
    async *getFeatureLogits({ featureStart, featureEnd, topK }) {
      for (let start = featureStart; start < featureEnd; start += 256) {
        const features = Array.from({ length: Math.min(256, featureEnd - start) }, (_, i) => start + i);
        const [pos = [], neg = []] = ([1, -1] as const).map((side) => features.map((feature) => logits(feature, topK, side, dVocab)));
        const dims = [features.length, topK];
        yield await Promise.resolve({
          featureStart: start,
          topK,
          posTokenIds: ids(pos.flatMap((row) => row.ids), dims),
          posLogits: floats(pos.flatMap((row) => row.values), dims),
          negTokenIds: ids(neg.flatMap((row) => row.ids), dims),
          negLogits: floats(neg.flatMap((row) => row.values), dims),
        });
      }
    },
  });
  const server = await startServer({ listen: "127.0.0.1:0", services: [inference, saes], reflection: false });
  return Object.assign(server, { spent });
}

function specialBits(tokenIds: readonly number[]): Uint8Array<ArrayBuffer> {
  const bits = new Uint8Array(Math.ceil(tokenIds.length / 8));
  for (const [i, id] of tokenIds.entries()) if (id < FIRST_WORD) bits[i >> 3]! |= 1 << (i & 7);
  return bits;
}

function floats(values: readonly number[], shape: number[]) {
  return { dtype: DataType.F32, shape, data: bytesOf(Float32Array.from(values)) as Uint8Array<ArrayBuffer> };
}

function ids(values: readonly number[], shape: number[]) {
  return { dtype: DataType.U32, shape, data: bytesOf(Uint32Array.from(values)) as Uint8Array<ArrayBuffer> };
}
