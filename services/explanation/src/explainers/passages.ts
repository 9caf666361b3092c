import type { ActivationExample } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { isSpecial, oneLine, tokenText, visibleToken } from "../token-text.ts";

/** Activation of each token of an example; 0 where the feature is silent. */
export function activationsOf({ tokens, positions, values }: ActivationExample): Float64Array {
  const activations = new Float64Array(tokens?.strTokens.length ?? 0);
  positions.forEach((position, i) => {
    if (position < activations.length) activations[position] = values[i] ?? 0;
  });
  return activations;
}

/** The text of an example on one line, special tokens left out, `marked` tokens between << and >>. */
export function passage(example: ActivationExample, marked: (index: number) => boolean): string {
  let text = "";
  let open = false;
  example.tokens?.strTokens.forEach((token, i) => {
    if (isSpecial(example.tokens?.isSpecial ?? new Uint8Array(), i)) return;
    const mark = marked(i);
    const body = tokenText(token);
    if (mark && !open) {
      // The blank before a word stays outside its mark.
      const word = body.trimStart();
      text += `${body.slice(0, body.length - word.length)}<<${word}`;
    } else if (!mark && open) text += `>>${body}`;
    else text += body;
    open = mark;
  });
  return oneLine(open ? `${text}>>` : text);
}

/** The example's text without marks. */
export function plainPassage(example: ActivationExample): string {
  return passage(example, () => false);
}

/** The example's text with the tokens above `threshold` of its maximum marked. */
export function markedPassage(example: ActivationExample, threshold: number): string {
  const activations = activationsOf(example);
  const least = threshold * example.maxActivation;
  return passage(example, (i) => (activations[i] ?? 0) > least);
}

/** Tokens above `threshold` of the maximum of their example, and the tokens right after them, most frequent first. */
export function firingTokens(
  examples: readonly ActivationExample[],
  threshold: number,
): { readonly firing: string[]; readonly following: string[] } {
  const firing = new Map<string, number>();
  const following = new Map<string, number>();
  for (const example of examples) {
    const activations = activationsOf(example);
    const tokens = example.tokens?.strTokens ?? [];
    activations.forEach((value, i) => {
      if (value <= threshold * example.maxActivation) return;
      const at = visibleToken(tokens[i] ?? "");
      firing.set(at, (firing.get(at) ?? 0) + 1);
      const next = tokens[i + 1];
      if (next !== undefined) following.set(visibleToken(next), (following.get(visibleToken(next)) ?? 0) + 1);
    });
  }
  return { firing: ranked(firing), following: ranked(following) };
}

function ranked(counts: ReadonlyMap<string, number>): string[] {
  return [...counts].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)).map(([token]) => token);
}
