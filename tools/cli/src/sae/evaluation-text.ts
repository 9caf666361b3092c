import type { SaeEvaluation } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { formatCount, formatFields, formatNumber, formatTable } from "../output.ts";

/** Everything that an evaluation says, as people read it. */
export function evaluationText(evaluation: SaeEvaluation): string {
  const { decoderSimilarity: similarity, bySource } = evaluation;
  const fields = formatFields([
    ["tokens measured", formatCount(evaluation.nTokens)],
    ["FVU", evaluation.fvu],
    ["explained variance", evaluation.explainedVariance],
    ["MSE", evaluation.mse],
    ["normalised MSE", evaluation.normalizedMse],
    ["cosine", evaluation.cosine],
    ["L2 ratio", evaluation.l2Ratio],
    ["reconstruction bias", evaluation.relativeReconstructionBias],
    ["L0", evaluation.l0],
    ["L1", evaluation.l1],
    ["dead features", `${formatCount(evaluation.nDead)} (${percent(evaluation.deadFraction)})`],
    ["on > 1% of tokens", percent(evaluation.denseFraction1pct)],
    ["on > 10% of tokens", percent(evaluation.denseFraction10pct)],
    ["features by density", densities(evaluation)],
    ["cross-entropy", evaluation.ceClean],
    ["with the SAE", evaluation.ceSae],
    ["with zeros", evaluation.ceZero],
    ["CE recovered", percent(evaluation.ceRecovered)],
    ["KL with the SAE", evaluation.klSae],
    ["KL with zeros", evaluation.klZero],
    ["KL recovered", percent(evaluation.klRecovered)],
    [
      "decoder similarity",
      similarity === undefined
        ? undefined
        : `mean ${formatNumber(similarity.mean)}, median ${formatNumber(similarity.median)}, 95% ${formatNumber(similarity.p95)}, largest ${formatNumber(similarity.max)}; ${percent(similarity.above09Fraction)} above 0.9, of ${formatCount(similarity.nFeatures)} features`,
    ],
    ["dead means", evaluation.deadRule],
  ]);
  const sources = Object.entries(bySource).sort(([, a], [, b]) => Number(b.nTokens - a.nTokens));
  if (sources.length < 2) return fields;
  const table = formatTable(sources, [
    { header: "source", cell: ([source]) => source, maxWidth: 40 },
    { header: "tokens", cell: ([, part]) => part.nTokens },
    { header: "FVU", cell: ([, part]) => part.fvu },
    { header: "cosine", cell: ([, part]) => part.cosine },
    { header: "L0", cell: ([, part]) => part.l0 },
    { header: "CE recovered", cell: ([, part]) => percent(part.ceRecovered), align: "right" },
    { header: "KL", cell: ([, part]) => part.klSae },
  ]);
  return `${fields}\n\n${table}`;
}

/** Features by decade of their density, the rarest first. */
function densities({ densityHistogram, nDead }: SaeEvaluation): string {
  const decades = Object.entries(densityHistogram).map(([decade, count]) => [Number(decade), count] as const);
  const parts = decades.sort(([a], [b]) => a - b).map(([decade, count]) => `1e${decade}: ${formatCount(count)}`);
  return [`never: ${formatCount(nDead)}`, ...parts].join("  ");
}

function percent(share: number | undefined): string | undefined {
  return share === undefined ? undefined : `${formatNumber(share * 100)}%`;
}
