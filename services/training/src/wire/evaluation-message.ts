import { create } from "@bufbuild/protobuf";
import { DecoderSimilaritySchema, SaeEvaluationSchema, type SaeEvaluation } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import type { Evaluation, Figures } from "../evaluate/evaluate.ts";

/** An evaluation as the contract has it. `text` says what was read, e.g. "held-back tokens". */
export function evaluationMessage({ all, bySource, decoderSimilarity }: Evaluation, text: string): SaeEvaluation {
  const rule = (tokens: number): string => `no activation other than 0 in the ${tokens} ${text} read, special tokens left out`;
  const message = figuresMessage(all, rule);
  if (decoderSimilarity !== undefined) message.decoderSimilarity = create(DecoderSimilaritySchema, { ...decoderSimilarity, nFeatures: BigInt(decoderSimilarity.nFeatures) });
  for (const [source, figures] of Object.entries(bySource)) message.bySource[source] = figuresMessage(figures, rule);
  return message;
}

function figuresMessage({ reconstruction, losses }: Figures, rule: (tokens: number) => string): SaeEvaluation {
  const { nTokens, nDead, densityHistogram, ...figures } = reconstruction;
  return create(SaeEvaluationSchema, {
    ...figures,
    nTokens: BigInt(nTokens),
    nDead: BigInt(nDead),
    densityHistogram: Object.fromEntries(Object.entries(densityHistogram).map(([decade, count]) => [decade, BigInt(count)])),
    deadRule: rule(nTokens),
    ...losses,
  });
}
