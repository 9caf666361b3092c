import type { Evidence, Explainer } from "./explainer.ts";
import { markedPassage } from "./passages.ts";

const system = `You study one unit inside a neural network that reads text. On most tokens the unit is silent; on some it is active.
You get passages in which it is active. The active tokens stand between << and >>.
Say in one short phrase what these places share. It may be a word, a kind of word, a grammatical role, a topic, or what comes next.
Describe the pattern, not single passages, and do not mention the marks, the unit or the network.
If nothing ties the places together, name the words that recur.
Answer with a JSON object: {"explanation": "the phrase"}.`;

/** Passages with the active tokens marked, as in EleutherAI's default explainer; the wording is our own. */
export const actsTop20: Explainer = {
  type: "eleuther_acts_top20",
  description: "Shows a language model passages with the firing tokens marked; by default the 20 strongest",
  templateId: "acts-marked-v1",
  system,
  question: ({ examples, threshold }: Evidence) =>
    `Passages:\n${examples.map((example, i) => `${i + 1}. ${markedPassage(example, threshold)}`).join("\n")}`,
};
