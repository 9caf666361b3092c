import { h } from "./dom.ts";
import { short } from "./format.ts";

/** A token with how strongly it is coloured. */
export interface WarmToken {
  readonly text: string;
  /** 0 leaves it as it is; the colour is full at `max`. */
  readonly value: number;
  readonly peak?: boolean;
}

/** Tokens coloured by value; the value shows when pointed at. */
export function warmTokens(tokens: readonly WarmToken[], max: number): HTMLElement {
  return h("div.tokens", {}, tokens.map((token) => warmToken(token, max)));
}

/** One coloured token. */
export function warmToken({ text, value, peak }: WarmToken, max: number): HTMLElement {
  const shown = text.split("\n").flatMap((line, at) => (at === 0 ? [line] : [h("span.mark", {}, "⏎"), "\n", line]));
  const span = h(peak === true ? "span.peak" : "span", value === 0 ? {} : { title: short(value) }, shown);
  if (value > 0) span.style.backgroundColor = `rgb(var(--heat) / ${(0.1 + 0.6 * Math.min(1, value / Math.max(max, 1e-9))).toFixed(3)})`;
  return span;
}
