import { visibleToken } from "../token-text.ts";
import type { Evidence, Explainer } from "./explainer.ts";
import { firingTokens, plainPassage } from "./passages.ts";

const tokensShown = 20;
const logitsShown = 10;

const system = `You name one unit inside a language model. You get the tokens it fires on, the tokens that stand right after those, the tokens it makes likelier to come next, and passages around its strongest firings.
Look for the first of these that holds, in this order:
(1) it fires on one token or on forms of one word: name it;
(2) the token after the firing is always alike: say "before" and name that;
(3) the tokens made likelier belong together: say "says" and name what they share;
(4) otherwise: what the passages are about.
Use 1 to 6 words, no sentence. Answer with a JSON object: {"explanation": "the name"}.`;

/** Firing tokens, following tokens, promoted tokens and passages, as in Neuronpedia's method; the wording is our own. */
export const maxActLogits: Explainer = {
  type: "np_max-act-logits",
  description: "Shows a language model firing, following and promoted tokens and passages; answers in 1 to 6 words",
  templateId: "max-act-logits-v1",
  system,
  question: ({ feature, examples, threshold }: Evidence) => {
    const { firing, following } = firingTokens(examples, threshold);
    const likelier = feature.posLogits.slice(0, logitsShown).map(({ strToken }) => visibleToken(strToken));
    return [
      `Fires on: ${JSON.stringify(firing.slice(0, tokensShown))}`,
      `Right after: ${JSON.stringify(following.slice(0, tokensShown))}`,
      `Made likelier: ${JSON.stringify(likelier)}`,
      `Passages:\n${examples.map((example, i) => `${i + 1}. ${plainPassage(example)}`).join("\n")}`,
    ].join("\n");
  },
};
