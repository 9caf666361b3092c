import { openCorpus } from "@mistral-sae/corpus";
import type { TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { invalidArgument, parseName, type Handlers } from "@mistral-sae/rpc";
import { EVALUATE_KIND } from "../jobs/evaluate-job.ts";
import { corpusSourceOf } from "../wire/corpus-source.ts";
import type { TrainingParts } from "./training-handlers.ts";

export function evaluateHandlers({ engine }: TrainingParts): Pick<Handlers<typeof TrainingService>, "evaluateSae"> {
  return {
    evaluateSae: async (request) => {
      parseName("models/{model}/saes/{sae}", request.sae, "sae");
      if ((request.corpus?.uri ?? "") === "") throw invalidArgument("corpus.uri", "got nothing, wanted a file, folder or glob");
      if (request.evalTokens === 0n) throw invalidArgument("eval_tokens", "got 0, wanted at least 1");
      await openCorpus(corpusSourceOf(request.corpus));
      return { operation: engine.start(EVALUATE_KIND, request, { requestId: request.requestId }) };
    },
  };
}
