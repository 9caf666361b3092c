import type { BpeEncoder } from "../bpe/encoder.ts";
import type { EncodedText, EncodeMode } from "./protocol.ts";

/** Texts to tokens on the thread that calls. @throws InputError for a character that the vocabulary has no token for. */
export function encodeTexts(encoder: BpeEncoder, texts: readonly string[], { plain, spans }: EncodeMode): EncodedText[] {
  return texts.map((text) => (spans ? encoder.encodeSpans(text, { plain }) : { ids: encoder.encode(text, { plain }), offsets: undefined }));
}
