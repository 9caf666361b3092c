import type { ActivationExample } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { isSpecial, tokenText } from "../token-text.ts";
import type { Evidence, Explainer } from "./explainer.ts";
import { activationsOf } from "./passages.ts";

const system = `You study one unit inside a neural network that reads text. Below are passages, one token to a line, each with the unit's activation on a scale of 0 to 10 after a tab.
Find what makes the unit active and say it in one short phrase that would let a reader foresee the activations of a new passage.
Do not quote the numbers and do not mention the unit or the network.
Answer with a JSON object: {"explanation": "the phrase"}.`;

/** (token, 0..10) pairs, as in OpenAI's first method; the wording is our own. */
export const tokenActPair: Explainer = {
  type: "oai_token-act-pair",
  description: "Shows a language model each token with its activation on a scale of 0 to 10",
  templateId: "token-act-pair-v1",
  system,
  question: ({ feature, examples }: Evidence) => {
    const largest = examples.reduce((max, { maxActivation }) => Math.max(max, maxActivation), feature.maxActivation);
    return examples.map((example, i) => `Passage ${i + 1}\n${pairs(example, largest)}`).join("\n\n");
  },
};

function pairs(example: ActivationExample, largest: number): string {
  const activations = activationsOf(example);
  const lines: string[] = [];
  example.tokens?.strTokens.forEach((token, i) => {
    if (isSpecial(example.tokens?.isSpecial ?? new Uint8Array(), i)) return;
    const level = largest > 0 ? Math.round((10 * Math.max(0, activations[i] ?? 0)) / largest) : 0;
    lines.push(`${tokenText(token).replaceAll("\n", "⏎")}\t${level}`);
  });
  return lines.join("\n");
}
