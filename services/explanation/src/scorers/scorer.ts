import { ScoreType } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import type { ActivationExample } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { markedPassage, passage, plainPassage } from "../explainers/passages.ts";
import { isSpecial } from "../token-text.ts";
import type { SeededRandom } from "../seeded-random.ts";

/** A scorer whose judge answers 0 or 1 for each passage of a batch. */
export interface Scorer {
  readonly type: ScoreType;
  /** Its name in ids and lists. */
  readonly name: string;
  readonly description: string;
  readonly system: string;
  /** How a passage is shown; `random` places false marks. */
  show(example: ActivationExample, activating: boolean, random: SeededRandom): string;
}

/** Tokens above this share of an example's maximum are marked as firing. */
const markThreshold = 0.3;

const detection: Scorer = {
  type: ScoreType.DETECTION,
  name: "detection",
  description: "A language model says for each passage whether the explanation fits it",
  system: `You check a description against passages. The description says what a pattern in text is.
For each numbered passage answer 1 if the pattern occurs in it and 0 if it does not. Judge each passage by itself.
Answer with a JSON object whose list has exactly one number for each passage, in order: {"answers": [1, 0]}.`,
  show: (example) => plainPassage(example),
};

const fuzz: Scorer = {
  type: ScoreType.FUZZ,
  name: "fuzz",
  description: "A language model says for each passage whether the tokens marked in it fit the explanation",
  system: `You check marks against a description. The description says what a pattern in text is; in each passage some tokens stand between << and >>.
For each numbered passage answer 1 if the marked tokens are places of the pattern and 0 if they are not. Judge each passage by itself.
Answer with a JSON object whose list has exactly one number for each passage, in order: {"answers": [1, 0]}.`,
  show: (example, activating, random) => (activating ? markedPassage(example, markThreshold) : randomlyMarked(example, random)),
};

/** Marks one or two tokens of a passage in which the feature is silent. */
function randomlyMarked(example: ActivationExample, random: SeededRandom): string {
  const tokens = example.tokens?.strTokens ?? [];
  const candidates = [...tokens.keys()].filter((i) => !isSpecial(example.tokens?.isSpecial ?? new Uint8Array(), i) && tokens[i]?.trim() !== "");
  const marked = new Set(random.shuffle(candidates).slice(0, 1 + random.below(2)));
  return passage(example, (i) => marked.has(i));
}

/** The scorers that run here. */
export const scorers: readonly Scorer[] = [detection, fuzz];

/** The schema that every judge's reply has to follow. */
export const answersReply = {
  name: "answers",
  schema: {
    type: "object",
    properties: { answers: { type: "array", items: { type: "integer", enum: [0, 1] } } },
    required: ["answers"],
    additionalProperties: false,
  },
} as const;
