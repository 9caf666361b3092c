import { create } from "@bufbuild/protobuf";
import { AbsorptionResultSchema, ProbeTaskKind, SaeProbingSchema, type SaeProbing } from "@mistral-sae/contracts/mistral_sae/training/v1/probe";
import type { Probing } from "../probe/probe.ts";
import { TASK_KINDS, type TaskKind } from "../probe/tasks.ts";

const WIRE: Readonly<Record<TaskKind, ProbeTaskKind>> = {
  word: ProbeTaskKind.WORD,
  letter: ProbeTaskKind.LETTER,
  source: ProbeTaskKind.SOURCE,
  position: ProbeTaskKind.POSITION,
};

export function isKind(kind: ProbeTaskKind): boolean {
  return TASK_KINDS.some((known) => WIRE[known] === kind);
}

/** Kinds that a request names, each once and in a fixed order; none is all. */
export function kindsOf(kinds: readonly ProbeTaskKind[]): readonly TaskKind[] {
  return kinds.length === 0 ? TASK_KINDS : TASK_KINDS.filter((kind) => kinds.includes(WIRE[kind]));
}

/** Probing as the contract has it, with the means over tasks and letters. */
export function probingMessage({ tasks, absorption, nTokens }: Probing): SaeProbing {
  const ks = Object.keys(tasks[0]?.accuracyByK ?? {}).map(Number);
  return create(SaeProbingSchema, {
    tasks: tasks.map(({ kind, nTrain, nTest, features, ...figures }) => ({ ...figures, features: [...features], kind: WIRE[kind], nTrain: BigInt(nTrain), nTest: BigInt(nTest) })),
    meanAccuracyByK: Object.fromEntries(ks.map((k) => [k, mean(tasks, ({ accuracyByK }) => accuracyByK[k] ?? 0)])),
    meanResidualAccuracy: mean(tasks, ({ residualAccuracy }) => residualAccuracy),
    nTokens: BigInt(nTokens),
    ...(absorption === undefined ? {} : { absorption: absorptionMessage(absorption) }),
  });
}

/** Means over the letters on which there was a token to measure, as SAEBench takes them. */
function absorptionMessage(absorption: NonNullable<Probing["absorption"]>): ReturnType<typeof create<typeof AbsorptionResultSchema>> {
  const measured = absorption.filter((letter) => letter.nTokens > 0);
  return create(AbsorptionResultSchema, {
    meanAbsorptionFraction: mean(measured, ({ absorptionFraction }) => absorptionFraction),
    meanFullAbsorption: mean(measured, ({ fullAbsorption }) => fullAbsorption),
    meanSplitFeatures: mean(measured, ({ splitFeatures }) => splitFeatures.length),
    letters: absorption.map(({ nTokens, splitFeatures, absorbingFeatures, ...letter }) => ({ ...letter, nTokens: BigInt(nTokens), splitFeatures: [...splitFeatures], absorbingFeatures: [...absorbingFeatures] })),
  });
}

function mean<T>(items: readonly T[], of: (item: T) => number): number {
  return items.length === 0 ? 0 : items.reduce((sum, item) => sum + of(item), 0) / items.length;
}
