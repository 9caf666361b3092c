import type { PositionSelector, PositionSet } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { ChatRole, RoleSpan } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";

/** A prompt as the model reads it. */
export interface ReadPrompt {
  readonly tokenIds: readonly number[];
  /** One bit a token, least significant first. */
  readonly isSpecial: Uint8Array;
  /** Who wrote which positions; empty for what is no conversation. */
  readonly spans: readonly RoleSpan[];
}

/** The prompt positions that a selector names, ascending. Positions outside the prompt are left to inference to refuse. */
export function promptPositions(selector: PositionSelector | undefined, prompt: ReadPrompt): number[] {
  const { tokenIds, isSpecial } = prompt;
  const included = selector?.include === undefined ? undefined : setOf(selector.include, prompt);
  const excluded = selector?.exclude === undefined ? new Set<number>() : setOf(selector.exclude, prompt);
  const skipSpecial = selector?.skipSpecialTokens ?? true;
  const positions: number[] = [];
  for (let i = 0; i < tokenIds.length; i++) {
    const special = (((isSpecial[i >> 3] ?? 0) >> (i & 7)) & 1) === 1;
    if (!(skipSpecial && special) && (included?.has(i) ?? true) && !excluded.has(i)) positions.push(i);
  }
  return positions;
}

function setOf(set: PositionSet, { tokenIds, spans }: ReadPrompt): Set<number> {
  const n = tokenIds.length;
  const absolute = (position: number): number => (position < 0 ? n + position : position);
  const positions = new Set<number>(set.promptPositions.map(absolute));
  const addRange = (start: number, end: number): void => {
    for (let i = Math.max(0, start); i < Math.min(n, end); i++) positions.add(i);
  };
  if (set.promptAll) addRange(0, n);
  if (set.promptWindow !== undefined) {
    const { start, end } = set.promptWindow;
    addRange(absolute(start), end === undefined ? n : absolute(end));
  }
  const wanted = new Set(set.tokenIds);
  tokenIds.forEach((id, i) => wanted.has(id) && positions.add(i));
  const roles = new Set<ChatRole>(set.roles);
  for (const { role, start, end } of spans) if (roles.has(role)) addRange(start, end);
  return positions;
}
