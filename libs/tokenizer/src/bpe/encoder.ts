import { AddedTokenFinder } from "./added-tokens.ts";
import type { BpeModel } from "./model.ts";
import { normalize, normalizeAligned } from "./normalizer.ts";
import { Splitter } from "./splitter.ts";
import { IdBuffer, WordEncoder } from "./word-encoder.ts";

/** Token ids of a text, and where each token stands in it. */
export interface EncodedSpans {
  readonly ids: Uint32Array<ArrayBuffer>;
  /** [start, end) of each token in UTF-16 units of the text, two entries a token. */
  readonly offsets: Uint32Array<ArrayBuffer>;
}

/** Text to ids, on the thread that calls. */
export class BpeEncoder {
  readonly #model: BpeModel;
  readonly #added: AddedTokenFinder;
  readonly #addedNormalized: AddedTokenFinder;
  readonly #splitter: Splitter;
  readonly #words: WordEncoder;
  readonly #out = new IdBuffer();

  constructor(model: BpeModel) {
    this.#model = model;
    this.#added = new AddedTokenFinder(model.added.filter(({ normalized }) => !normalized));
    this.#addedNormalized = new AddedTokenFinder(
      model.added.filter(({ normalized }) => normalized).map((token) => ({ ...token, content: normalize(token.content, model.normalizer) })),
    );
    this.#splitter = new Splitter(model.splits);
    this.#words = new WordEncoder(model);
  }

  /**
   * @param options plain: control tokens that the text spells are text.
   * @throws InputError for a character that the vocabulary has no token for.
   */
  encode(text: string, options: { readonly plain: boolean }): Uint32Array<ArrayBuffer> {
    const out = this.#out;
    out.length = 0;
    const whole = text.toWellFormed();
    for (const { start, end, id } of options.plain ? plain(whole) : this.#added.split(whole)) {
      if (id !== undefined) {
        out.push(id);
        continue;
      }
      const stretch = normalize(start === 0 && end === whole.length ? whole : whole.slice(start, end), this.#model.normalizer);
      for (const part of options.plain ? plain(stretch) : this.#addedNormalized.split(stretch)) {
        if (part.id !== undefined) out.push(part.id);
        else for (const word of this.#splitter.split(stretch.slice(part.start, part.end), start + part.start === 0)) this.#words.encode(word.text, out);
      }
    }
    return out.take();
  }

  /** The same with where each token stands. */
  encodeSpans(text: string, options: { readonly plain: boolean }): EncodedSpans {
    const out = this.#out;
    out.length = 0;
    const offsets: number[] = [];
    const whole = text.toWellFormed();
    for (const { start, end, id } of options.plain ? plain(whole) : this.#added.split(whole)) {
      if (id !== undefined) {
        out.push(id);
        offsets.push(start, end);
        continue;
      }
      const { text: stretch, origin } = normalizeAligned(whole.slice(start, end), this.#model.normalizer);
      const place = (at: number): number => Math.min(end, start + origin(Math.max(0, at)));
      for (const part of options.plain ? plain(stretch) : this.#addedNormalized.split(stretch)) {
        if (part.id !== undefined) {
          out.push(part.id);
          offsets.push(place(part.start), place(part.end));
          continue;
        }
        for (const word of this.#splitter.split(stretch.slice(part.start, part.end), start + part.start === 0)) {
          const from = part.start + word.start;
          this.#words.encodeSpans(word.text, (token, tokenStart, tokenEnd) => {
            out.push(token);
            offsets.push(place(from + tokenStart), place(from + tokenEnd));
          });
        }
      }
    }
    return { ids: out.take(), offsets: Uint32Array.from(offsets) };
  }
}

function plain(text: string): { start: number; end: number; id: undefined }[] {
  return text === "" ? [] : [{ start: 0, end: text.length, id: undefined }];
}
