import type { PositionSelector, PositionSet } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { ChatRole } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import type { GeneratedRule, GeneratedSet } from "@mistral-sae/model";
import { invalidArgument } from "@mistral-sae/rpc";
import { type Prompt, ROLE_NUMBERS } from "../wire/prompt.ts";

/** Positions of one prompt and of the tokens generated after it. */
export interface Placement {
  /** One byte a token of the prompt, 1 where selected. */
  readonly prompt: Uint8Array;
  readonly generated: GeneratedRule;
}

const EVERYTHING: GeneratedSet = { all: true };
const NOTHING: GeneratedSet = {};

/**
 * The prompt positions of a set, one byte a token.
 *
 * @throws INVALID_ARGUMENT for a position outside the prompt, or roles of a prompt that is no conversation.
 */
export function promptMask(field: string, set: PositionSet, prompt: Prompt): Uint8Array {
  const n = prompt.ids.length;
  const mask = new Uint8Array(n);
  if (set.promptAll) mask.fill(1);
  for (const [i, position] of set.promptPositions.entries()) {
    mask[positionIn(`${field}.prompt_positions[${i}]`, position, n)] = 1;
  }
  if (set.promptWindow !== undefined) {
    const { start, end } = set.promptWindow;
    const from = Math.max(0, start < 0 ? n + start : start);
    const to = Math.min(n, end === undefined ? n : end < 0 ? n + end : end);
    if (from < to) mask.fill(1, from, to);
  }
  if (set.tokenIds.length > 0) {
    const wanted = new Set(set.tokenIds);
    for (let i = 0; i < n; i++) if (wanted.has(prompt.ids[i] ?? 0)) mask[i] = 1;
  }
  if (set.roles.length > 0) {
    if (prompt.spans === undefined) {
      throw invalidArgument(`${field}.roles`, "roles need a prompt given as chat", "STEERING_FIELD_NOT_APPLICABLE");
    }
    for (const span of prompt.spans) if (set.roles.includes(ROLE_NUMBERS[span.role])) mask.fill(1, span.start, span.end);
  }
  return mask;
}

/** A position of a prompt of n tokens; negative counts from the end. @throws INVALID_ARGUMENT outside of it. */
export function positionIn(field: string, position: number, n: number): number {
  const absolute = position < 0 ? n + position : position;
  if (absolute < 0 || absolute >= n) {
    throw invalidArgument(field, `got ${position}, wanted ${-n} to ${n - 1}: the prompt has ${n} tokens`, "POSITION_OUT_OF_RANGE");
  }
  return absolute;
}

/** The generated tokens of a set. What the assistant is to write counts as written by it. */
export function generatedSet(field: string, set: PositionSet): GeneratedSet {
  const window = set.generationWindow;
  if (window !== undefined && window.start < 0) {
    throw invalidArgument(`${field}.generation_window.start`, `got ${window.start}, wanted at least 0, the first generated token`);
  }
  return {
    ...(set.generationAll || set.roles.includes(ChatRole.ASSISTANT) ? { all: true } : {}),
    ...(window === undefined
      ? {}
      : { window: { start: window.start, ...(window.end === undefined ? {} : { end: Math.max(window.start, window.end) }) } }),
    ...(set.tokenIds.length > 0 ? { tokenIds: [...set.tokenIds] } : {}),
  };
}

/** Where a selector places an edit. An exclude wins over an include, and special tokens are left alone by default. */
export function place(field: string, selector: PositionSelector | undefined, prompt: Prompt, specialIds: readonly number[]): Placement {
  const include = selector?.include;
  const exclude = selector?.exclude;
  const mask = include === undefined ? new Uint8Array(prompt.ids.length).fill(1) : promptMask(`${field}.include`, include, prompt);
  if (exclude !== undefined) {
    const out = promptMask(`${field}.exclude`, exclude, prompt);
    for (let i = 0; i < mask.length; i++) if (out[i] === 1) mask[i] = 0;
  }
  const skipSpecial = selector?.skipSpecialTokens ?? true;
  if (skipSpecial) {
    for (let i = 0; i < mask.length; i++) if (((prompt.isSpecial[i >>> 3] ?? 0) >>> (i & 7)) & 1) mask[i] = 0;
  }
  const out = exclude === undefined ? NOTHING : generatedSet(`${field}.exclude`, exclude);
  return {
    prompt: mask,
    generated: {
      include: include === undefined ? EVERYTHING : generatedSet(`${field}.include`, include),
      exclude: skipSpecial ? { ...out, tokenIds: [...(out.tokenIds ?? []), ...specialIds] } : out,
    },
  };
}

/** Whether generated token t with this id is in the set. */
export function contains(set: GeneratedSet, t: number, id: number): boolean {
  if (set.all === true) return true;
  const { window } = set;
  if (window !== undefined && t >= window.start && (window.end === undefined || t < window.end)) return true;
  return set.tokenIds?.includes(id) === true;
}

/** Whether the rule selects generated token t with this id: the oracle that the engine's proof is held against. */
export function selects(rule: GeneratedRule, t: number, id: number): boolean {
  return contains(rule.include ?? EVERYTHING, t, id) && !contains(rule.exclude ?? NOTHING, t, id);
}

/**
 * Whether the rule may select one of the generated tokens that are read again, which are all but the last of at most
 * `maxTokens`. Token ids are unknown beforehand, so that a rule on them may.
 */
export function maySelect(rule: GeneratedRule, maxTokens: number): boolean {
  const include = rule.include ?? EVERYTHING;
  if (rule.exclude?.all === true) return false;
  const read = maxTokens - 1;
  if (read <= 0) return false;
  if (include.all === true || (include.tokenIds?.length ?? 0) > 0) return true;
  const { window } = include;
  return window !== undefined && window.start < read && (window.end === undefined || window.end > window.start);
}
