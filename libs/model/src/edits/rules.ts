import type { Edit, EditBase, GeneratedRule, GeneratedSet } from "./edit.ts";

/** Whether edit `edit` touches the token `token` at `position` of a sequence that was given `promptLength` tokens. */
export function selects(edit: Edit, position: number, promptLength: number, token: number): boolean {
  if (position < promptLength) return edit.prompt === undefined || edit.prompt[position] !== 0;
  return edit.generated === undefined || ruleHolds(edit.generated, position - promptLength, token);
}

function ruleHolds(rule: GeneratedRule, t: number, token: number): boolean {
  const included = rule.include === undefined || contains(rule.include, t, token);
  return included && !(rule.exclude !== undefined && contains(rule.exclude, t, token));
}

function contains(set: GeneratedSet, t: number, token: number): boolean {
  if (set.all === true) return true;
  return inWindow(set, t) || set.tokenIds?.includes(token) === true;
}

function inWindow({ window }: GeneratedSet, t: number): boolean {
  return window !== undefined && t >= window.start && (window.end === undefined || t < window.end);
}

/** g(t) at `position`; prompt rows use g(0), and the last factor is held. */
export function factorAt(edit: Edit, position: number, promptLength: number): number {
  const { schedule } = edit;
  if (schedule === undefined) return 1;
  return schedule[Math.min(Math.max(position - promptLength, 0), schedule.length - 1)]!;
}

/** Whether there is a row of the prompt, or a token that may be generated, that both edits select. */
export function selectionsMeet(a: Pick<EditBase, "prompt" | "generated">, b: Pick<EditBase, "prompt" | "generated">): boolean {
  return masksMeet(a.prompt, b.prompt) || rulesMeet(a.generated ?? {}, b.generated ?? {});
}

function masksMeet(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined) return (a ?? b)?.some((selected) => selected !== 0) ?? true;
  return a.some((selected, i) => selected !== 0 && (b[i] ?? 0) !== 0);
}

/** Tokens of a range of steps: any token, or one of these ids. */
interface Block {
  readonly start: number;
  readonly end: number;
  readonly ids: readonly number[] | undefined;
}

/** Exact, but that a rule which leaves token ids out is taken to leave some ids in. */
export function rulesMeet(a: GeneratedRule, b: GeneratedRule): boolean {
  const out = [a.exclude ?? {}, b.exclude ?? {}];
  if (out.some((set) => set.all === true)) return false;
  return blocksOf(a.include).some((x) => blocksOf(b.include).some((y) => remains(x, y, out)));
}

function blocksOf(include: GeneratedSet | undefined): Block[] {
  if (include === undefined || include.all === true) return [{ start: 0, end: Infinity, ids: undefined }];
  const { window, tokenIds } = include;
  return [
    ...(window === undefined ? [] : [{ start: window.start, end: window.end ?? Infinity, ids: undefined }]),
    ...(tokenIds === undefined ? [] : [{ start: 0, end: Infinity, ids: tokenIds }]),
  ];
}

/** Whether the overlap of two blocks has a token that no set in `out` takes away. */
function remains(x: Block, y: Block, out: readonly GeneratedSet[]): boolean {
  const ids = x.ids === undefined ? y.ids : x.ids.filter((id) => y.ids?.includes(id) ?? true);
  if (ids !== undefined && !ids.some((id) => !out.some((set) => set.tokenIds?.includes(id)))) return false;
  const start = Math.max(x.start, y.start);
  const end = Math.min(x.end, y.end);
  // The first step left, if any is, begins the overlap or follows a window that is left out.
  return [start, ...out.map((set) => set.window?.end ?? Infinity)].some((t) => t >= start && t < end && !out.some((set) => inWindow(set, t)));
}
