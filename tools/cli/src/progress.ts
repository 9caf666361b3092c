import { formatCount, formatSeconds } from "./format.ts";

/** A sink of text, as process.stderr is one. */
export interface TextStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** Where a piece of work stands. */
export interface ProgressState {
  readonly done: number;
  /** 0 while unknown. */
  readonly total: number;
  /** What is counted, e.g. "tokens"; empty where nothing is. */
  readonly unit: string;
  /** Units a second; measured here when absent. */
  readonly rate?: number | undefined;
  /** Figures shown behind the bar, e.g. { FVU: "0.12" }. */
  readonly figures?: Readonly<Record<string, string>> | undefined;
}

/** Shows one piece of work at a time. Update as often as you like; drawing is throttled. */
export interface Progress {
  update(state: ProgressState): void;
  /** Draws the last state once more and ends the line. */
  finish(note?: string): void;
}

const REDRAW_MS = 100;
const LINE_EVERY_MS = 5000;
const BAR_WIDTH = 24;
const DONE = "done";

/** A bar that redraws itself on a terminal; a line every few seconds anywhere else; nothing when quiet. */
export function startProgress(label: string, stream: TextStream, quiet = false): Progress {
  if (quiet) return { update: () => undefined, finish: () => undefined };
  const terminal = stream.isTTY === true;
  const started = performance.now();
  let last: ProgressState | undefined;
  let drawnAt = terminal ? Number.NEGATIVE_INFINITY : started;
  let finished = false;
  const draw = (note: string | undefined): void => {
    const text = describe(label, last, (performance.now() - started) / 1000, note, terminal);
    stream.write(terminal ? `\r\u001B[2K${clip(text, stream.columns ?? 100)}` : `${text}\n`);
  };
  return {
    update(state) {
      last = state;
      const now = performance.now();
      if (finished || now - drawnAt < (terminal ? REDRAW_MS : LINE_EVERY_MS)) return;
      drawnAt = now;
      draw(undefined);
    },
    finish(note) {
      if (finished) return;
      finished = true;
      draw(note ?? DONE);
      if (terminal) stream.write("\n");
    },
  };
}

function describe(label: string, state: ProgressState | undefined, seconds: number, note: string | undefined, terminal: boolean): string {
  const parts: string[] = [label];
  // Work that is done though its last count says otherwise was not counted to the end: the count would mislead.
  const uncounted = note === DONE && state !== undefined && state.done < state.total;
  if (state !== undefined && !uncounted) {
    const share = state.total > 0 ? Math.min(1, state.done / state.total) : undefined;
    if (share !== undefined && terminal) parts.push(bar(share));
    if (share !== undefined) parts.push(`${Math.floor(share * 100)}%`.padStart(4));
    if (state.unit !== "") parts.push(`${formatCount(state.done)}${state.total > 0 ? `/${formatCount(state.total)}` : ""} ${state.unit}`);
    const rate = state.rate ?? (seconds > 0 ? state.done / seconds : 0);
    if (rate > 0) parts.push(`${formatCount(rate)}/s`);
    if (note === undefined && share !== undefined && rate > 0) parts.push(`eta ${formatSeconds(Math.max(0, state.total - state.done) / rate)}`);
    for (const [name, value] of Object.entries(state.figures ?? {})) parts.push(`${name} ${value}`);
  }
  if (note !== undefined) parts.push(`${note} in ${formatSeconds(seconds)}`);
  return parts.join("  ");
}

function bar(share: number): string {
  const full = Math.round(share * BAR_WIDTH);
  return `${"█".repeat(full)}${"░".repeat(BAR_WIDTH - full)}`;
}

function clip(text: string, columns: number): string {
  return Array.from(text).slice(0, Math.max(10, columns - 1)).join("");
}
