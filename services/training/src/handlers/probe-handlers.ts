import { openCorpus } from "@mistral-sae/corpus";
import type { TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { invalidArgument, parseName, type Handlers } from "@mistral-sae/rpc";
import { PROBE_KIND } from "../jobs/probe-job.ts";
import { corpusSourceOf } from "../wire/corpus-source.ts";
import { isKind, kindsOf } from "../wire/probing-message.ts";
import type { TrainingParts } from "./training-handlers.ts";

/** Tokens whose labels are held in memory. */
const MOST_TOKENS = 20_000_000n;
/** Features of a k-sparse probe. */
const LARGEST_K = 4096;

export function probeHandlers({ engine }: Pick<TrainingParts, "engine">): Pick<Handlers<typeof TrainingService>, "probeSae"> {
  return {
    probeSae: async (request) => {
      const { kinds, ks, tokens, maxTasks, absorption, seed } = request;
      parseName("models/{model}/saes/{sae}", request.sae, "sae");
      if ((request.corpus?.uri ?? "") === "") throw invalidArgument("corpus.uri", "got nothing, wanted a file, folder or glob");
      const unknown = kinds.findIndex((kind) => !isKind(kind));
      if (unknown >= 0) throw invalidArgument(`kinds[${unknown}]`, `got ${kinds[unknown]}, wanted WORD, LETTER, SOURCE or POSITION`);
      const badK = ks.findIndex((k) => k < 1 || k > LARGEST_K);
      if (badK >= 0) throw invalidArgument(`ks[${badK}]`, `got ${ks[badK]}, wanted 1 to ${LARGEST_K}`);
      if (tokens !== undefined && (tokens < 1n || tokens > MOST_TOKENS)) throw invalidArgument("tokens", `got ${tokens}, wanted 1 to ${MOST_TOKENS}`);
      if (maxTasks === 0) throw invalidArgument("max_tasks", "got 0, wanted at least 1");
      if (absorption && !kindsOf(kinds).includes("letter")) throw invalidArgument("absorption", "got true without kind LETTER, wanted LETTER among kinds: absorption is measured on letters");
      if (seed > BigInt(Number.MAX_SAFE_INTEGER) / 16n) throw invalidArgument("seed", `got ${seed}, wanted at most ${BigInt(Number.MAX_SAFE_INTEGER) / 16n}`);
      await openCorpus(corpusSourceOf(request.corpus));
      return { operation: engine.start(PROBE_KIND, request, { requestId: request.requestId }) };
    },
  };
}
