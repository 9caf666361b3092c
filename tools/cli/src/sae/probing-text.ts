import type { AbsorptionResult, ProbeTask, SaeProbing } from "@mistral-sae/contracts/mistral_sae/training/v1/probe";
import { formatCount, formatNumber, formatTable } from "../output.ts";

/** What probing found: one line a task, the means, and absorption where it was measured. */
export function probingText({ tasks, meanAccuracyByK, meanResidualAccuracy, absorption, nTokens }: SaeProbing): string {
  const ks = Object.keys(meanAccuracyByK).map(Number).sort((a, b) => a - b);
  const means = { name: "mean", residual: meanResidualAccuracy, sae: tasks.reduce((sum, task) => sum + task.saeAccuracy, 0) / tasks.length, byK: meanAccuracyByK, task: undefined };
  const lines = [...tasks.map((task) => ({ name: task.name, residual: task.residualAccuracy, sae: task.saeAccuracy, byK: task.accuracyByK, task })), means];
  const table = formatTable<{ readonly name: string; readonly residual: number; readonly sae: number; readonly byK: Readonly<Record<number, number>>; readonly task: ProbeTask | undefined }>(lines, [
    { header: "task", cell: ({ name }) => name, maxWidth: 40 },
    { header: "train", cell: ({ task }) => task?.nTrain, align: "right" },
    { header: "test", cell: ({ task }) => task?.nTest, align: "right" },
    { header: "model", cell: ({ residual }) => share(residual), align: "right" },
    { header: "all features", cell: ({ sae }) => share(sae), align: "right" },
    ...ks.map((k) => ({ header: `k=${k}`, cell: ({ byK }: (typeof lines)[number]) => share(byK[k]), align: "right" as const })),
    { header: "features", cell: ({ task }) => task?.features.slice(0, 5).join(" ") },
  ]);
  const parts = [`test accuracy of logistic probes, from ${formatCount(nTokens)} tokens:`, table];
  return absorption === undefined ? parts.join("\n") : [...parts, "", absorptionText(absorption)].join("\n");
}

function absorptionText({ letters, meanAbsorptionFraction, meanFullAbsorption, meanSplitFeatures }: AbsorptionResult): string {
  const table = formatTable(letters, [
    { header: "letter", cell: ({ letter }) => letter },
    { header: "tokens", cell: (letter) => letter.nTokens },
    { header: "fraction", cell: (letter) => share(letter.absorptionFraction), align: "right" },
    { header: "full", cell: (letter) => share(letter.fullAbsorption), align: "right" },
    { header: "main features", cell: (letter) => letter.splitFeatures.join(" ") },
    { header: "absorbed by", cell: (letter) => letter.absorbingFeatures.slice(0, 8).join(" ") },
  ]);
  return `absorption of first letters: mean fraction ${share(meanAbsorptionFraction)}, full ${share(meanFullAbsorption)}, main features ${formatNumber(meanSplitFeatures)}\n${table}`;
}

function share(value: number | undefined): string | undefined {
  return value?.toFixed(3);
}
