import type { FeatureLogits } from "../engine.ts";
import type { ModelRuntime } from "../runtime/model-runtime.ts";
import type { CommandHandlers } from "../worker/protocol.ts";

/** Commands on loaded SAEs. */
export function saeCommands(runtime: ModelRuntime): Pick<CommandHandlers, "loadSae" | "unloadSae" | "decodeRows" | "directions" | "featureLogits" | "nearest" | "neighbours"> {
  return {
    async loadSae({ sae, weights }) {
      return await Promise.resolve(runtime.loadSae(sae, weights));
    },

    async unloadSae({ sae }) {
      runtime.unloadSae(sae);
      return await Promise.resolve(undefined);
    },

    async decodeRows({ sae, codes }) {
      return await Promise.resolve(runtime.sae(sae).decode(codes));
    },

    async directions({ sae, features, side }) {
      return await Promise.resolve(runtime.sae(sae).directions(features, side));
    },

    async featureLogits({ sae, start, end, topK }): Promise<FeatureLogits> {
      const { wDec, dIn } = runtime.sae(sae).sae;
      const { topIds, topLogits, lowIds, lowLogits } = await runtime.heads.directions(wDec.subarray(start * dIn, end * dIn), end - start, topK);
      return { topK, posTokenIds: Uint32Array.from(topIds, Number), posLogits: topLogits, negTokenIds: Uint32Array.from(lowIds, Number), negLogits: lowLogits };
    },

    async neighbours({ sae, start, end, side, topK }) {
      return await runtime.sae(sae).neighbours(start, end, side, topK);
    },

    async nearest({ sae, query, side, topK }) {
      return await runtime.sae(sae).nearest(query, side, topK);
    },
  };
}
