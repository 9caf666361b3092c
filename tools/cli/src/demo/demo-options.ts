import { createHash } from "node:crypto";

/** What the main job is run on and with. */
export interface DemoOptions {
  /** Folder of everything the system keeps. */
  readonly data: string;
  /** Model folder or hub id; undefined takes the one that ships. */
  readonly model: string | undefined;
  /** Text to read; undefined takes the corpus that ships. */
  readonly corpus: string | undefined;
  /** Exit after the report instead of leaving the system running. */
  readonly once: boolean;
  readonly hookName: string;
  readonly contextSize: number;
  readonly dSae: number;
  readonly k: number;
  readonly trainingTokens: number;
  readonly trainBatchSizeTokens: number;
  readonly lr: number;
  readonly lrWarmUpSteps: number;
  /** Share of the steps over which the learning rate falls to zero at the end. */
  readonly lrDecayShare: number;
  readonly kAux: number;
  readonly deadFeatureWindowTokens: number;
  readonly seed: number;
  /** Features to steer in the report. */
  readonly steeringFeatures: number;
  /** Threads of the whole system; undefined takes every core. */
  readonly threads: number | undefined;
}

/** The demo preset: a recipe that suits a few million tokens of a small model. */
export const demoDefaults = {
  data: ".mistral-sae",
  model: undefined,
  corpus: undefined,
  once: false,
  hookName: "blocks.2.hook_resid_pre",
  contextSize: 128,
  dSae: 2048,
  k: 16,
  trainingTokens: 4_608_000,
  trainBatchSizeTokens: 1024,
  lr: 2e-3,
  lrWarmUpSteps: 100,
  lrDecayShare: 0.3,
  kAux: 64,
  deadFeatureWindowTokens: 100_000,
  seed: 0,
  steeringFeatures: 5,
  threads: undefined,
} as const satisfies DemoOptions;

/** A short stable hash of a request, for request ids and resource ids: the same job is never done twice. */
export function hashOf(value: unknown): string {
  const json = JSON.stringify(value, (_key, part: unknown) => (typeof part === "bigint" ? part.toString() : part));
  return createHash("sha256").update(json).digest("hex").slice(0, 12);
}

/** A request id (AIP-155 wants a UUID) that is always the same for the same request. */
export function requestIdOf(value: unknown): string {
  const h = createHash("sha256").update(hashOf(value)).digest("hex");
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-5${h.slice(13, 16)}-a${h.slice(17, 20)}-${h.slice(20, 32)}`;
}
