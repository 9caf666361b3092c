import { formatSeconds } from "./format.ts";
import type { TextStream } from "./progress.ts";

/** A growing text with a heading. */
export interface GrowingText {
  readonly heading: string;
  text: string;
}

const REDRAW_MS = 80;
const GAP = "   ";

/**
 * Texts that grow beside each other. On a terminal they are drawn in columns again and again in place;
 * elsewhere nothing is written before the end, and then one after the other.
 */
export class SideBySide {
  readonly #columns: readonly GrowingText[];
  readonly #stream: TextStream;
  readonly #startedAt = performance.now();
  #drawnLines = 0;
  #drawnAt = Number.NEGATIVE_INFINITY;

  constructor(columns: readonly GrowingText[], stream: TextStream) {
    this.#columns = columns;
    this.#stream = stream;
  }

  /** Draws the texts as they are now, unless that was done a moment ago. */
  update(): void {
    if (this.#stream.isTTY !== true || performance.now() - this.#drawnAt < REDRAW_MS) return;
    this.#draw();
  }

  /** Draws for the last time. */
  finish(): void {
    if (this.#stream.isTTY === true) {
      this.#draw();
      this.#stream.write(`\n${formatSeconds((performance.now() - this.#startedAt) / 1000)}\n`);
      return;
    }
    this.#stream.write(`${this.#columns.map(({ heading, text }) => `── ${heading}\n${text}`).join("\n\n")}\n`);
  }

  #draw(): void {
    this.#drawnAt = performance.now();
    const width = Math.max(20, Math.floor(((this.#stream.columns ?? 100) - GAP.length * (this.#columns.length - 1)) / this.#columns.length) - 1);
    const blocks = this.#columns.map(({ heading, text }) => [`── ${heading}`.slice(0, width), ...wrap(text, width)]);
    const height = Math.max(...blocks.map((block) => block.length));
    const lines = Array.from({ length: height }, (_, line) => blocks.map((block) => (block[line] ?? "").padEnd(width)).join(GAP).trimEnd());
    const up = this.#drawnLines > 1 ? `\u001B[${this.#drawnLines - 1}A` : "";
    this.#stream.write(`\r${up}${lines.map((line) => `\u001B[2K${line}`).join("\n")}`);
    this.#drawnLines = lines.length;
  }
}

/** Breaks text at spaces into lines of at most `width` characters; its own line breaks stay. */
export function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  for (const paragraph of text.split("\n")) {
    let line = "";
    for (const word of paragraph.split(/(?<= )/)) {
      if (line !== "" && line.length + word.trimEnd().length > width) {
        lines.push(line.trimEnd());
        line = "";
      }
      line += word;
      while (line.trimEnd().length > width) {
        lines.push(line.slice(0, width));
        line = line.slice(width);
      }
    }
    lines.push(line.trimEnd());
  }
  return lines;
}
