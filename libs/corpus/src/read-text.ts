import type { RawDocument } from "./document.ts";
import { splitLines } from "./lines.ts";
import { decodeLine } from "./utf8.ts";

/** A text of at most this many characters is one document. */
const WHOLE = 16_384;
/** Shortest passage of a longer text. */
const SHORTEST = 4096;
/** A passage ends here even where no blank line comes. */
const LONGEST = 65_536;
/** Line that ends a document in the plain-text releases of several data sets. */
const END_OF_TEXT = "<|endoftext|>";

/**
 * Documents of a plain text. Lines that hold `<|endoftext|>` alone part documents and belong to none. What
 * lies between is one document when it has at most 16,384 characters. A longer text (a book) is cut into
 * passages, so that it can be held back in parts and is read with bounded memory: each ends at the first
 * blank line after 4,096 characters, or at a line's end after 65,536; a longer line is cut at a space.
 */
export async function* readText(chunks: AsyncIterable<Uint8Array>, file: string): AsyncIterable<RawDocument> {
  let section = new Section();
  for await (const line of splitLines(chunks, file)) {
    const text = decodeLine(line.bytes, file, line.number);
    if (text.trim() === END_OF_TEXT) {
      yield* section.end();
      section = new Section();
    } else {
      for (const piece of shortPieces(`${text}\n`)) yield* section.add(piece, line.number);
    }
  }
  yield* section.end();
}

/** The lines between two ends of text. */
class Section {
  #lines: string[] = [];
  #first = 1;
  #size = 0;
  #long = false;

  /** Takes one more line. @returns The passages it completed. */
  add(text: string, number: number): RawDocument[] {
    if (this.#lines.length === 0) this.#first = number;
    this.#lines.push(text);
    this.#size += text.length;
    if (this.#long) return this.#isComplete(text) ? this.#take() : [];
    if (this.#size <= WHOLE) return [];
    this.#long = true;
    return this.#replay();
  }

  end(): RawDocument[] {
    return this.#lines.length === 0 ? [] : this.#take();
  }

  #isComplete(last: string): boolean {
    return this.#size > LONGEST || (this.#size > SHORTEST && last.trim() === "");
  }

  #take(): RawDocument[] {
    const document = { text: this.#lines.join("").replace(/\n$/, ""), source: undefined, line: this.#first, metadata: "" };
    this.#lines = [];
    this.#size = 0;
    return [document];
  }

  #replay(): RawDocument[] {
    const lines = this.#lines;
    const first = this.#first;
    this.#lines = [];
    this.#size = 0;
    return lines.flatMap((line, at) => this.add(line, first + at));
  }
}

function* shortPieces(line: string): Iterable<string> {
  let rest = line;
  while (rest.length > LONGEST) {
    const space = rest.lastIndexOf(" ", LONGEST);
    const end = space > SHORTEST ? space + 1 : wholeCharacters(rest, LONGEST);
    yield rest.slice(0, end);
    rest = rest.slice(end);
  }
  yield rest;
}

/** The largest cut up to `end` that parts no surrogate pair. */
function wholeCharacters(text: string, end: number): number {
  const code = text.charCodeAt(end - 1);
  return code >= 0xd800 && code < 0xdc00 ? end - 1 : end;
}
