import type { Vocabulary } from "./vocabulary.ts";

export interface DecodeOptions {
  /** Leave special tokens out of the text. */
  readonly skipSpecial: boolean;
  /** The ids go on from an earlier text, so that the space that opens a text is kept. */
  readonly continuation: boolean;
}

export const decodeDefaults: DecodeOptions = { skipSpecial: false, continuation: false };

const SPACE = 0x20;

/**
 * The text of ids. Bytes that are no UTF-8 become U+FFFD, one for each maximal ill-formed part (as in the WHATWG
 * decoder and Rust's from_utf8_lossy; the ByteFallback decoder of tokenizers differs only there: one for each byte).
 */
export function decodeIds(
  vocabulary: Vocabulary,
  ids: ArrayLike<number>,
  leadingSpaces: number,
  options: Partial<DecodeOptions> = {},
): string {
  const { skipSpecial, continuation } = { ...decodeDefaults, ...options };
  let length = 0;
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i] ?? 0;
    if (!(skipSpecial && vocabulary.isSpecial(id))) length += vocabulary.bytesOf(id).length;
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i] ?? 0;
    if (skipSpecial && vocabulary.isSpecial(id)) continue;
    const piece = vocabulary.bytesOf(id);
    bytes.set(piece, at);
    at += piece.length;
  }
  let start = 0;
  if (!continuation) while (start < leadingSpaces && bytes[start] === SPACE) start++;
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(start));
}

/** Length of the UTF-8 sequence that starts with this byte; 0 where none can. */
export function sequenceLength(first: number): number {
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return 2;
  if (first >= 0xe0 && first <= 0xef) return 3;
  if (first >= 0xf0 && first <= 0xf4) return 4;
  return 0;
}

/**
 * The text of one token as people see it: what it writes, its name for a special token, and `<0xE2>` for each byte
 * that is only part of a character.
 */
export function strToken(vocabulary: Vocabulary, id: number): string {
  if (!vocabulary.has(id)) return `<unused_${id}>`;
  const bytes = vocabulary.bytesOf(id);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return bytewise(bytes);
  }
}

function bytewise(bytes: Uint8Array): string {
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let text = "";
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes[at] ?? 0);
    let character: string | undefined;
    if (length > 0 && at + length <= bytes.length) {
      try {
        character = strict.decode(bytes.subarray(at, at + length));
      } catch {
        character = undefined;
      }
    }
    if (character === undefined) {
      text += `<0x${(bytes[at] ?? 0).toString(16).toUpperCase().padStart(2, "0")}>`;
      at += 1;
    } else {
      text += character;
      at += length;
    }
  }
  return text;
}
