import type { Fields } from "../fields.ts";
import { alphabetBytes } from "./byte-alphabet.ts";
import { stepsOf } from "./pipeline.ts";

/** How the pieces of a `tokenizer.json` become bytes. */
export interface PieceDecoder {
  /** Bytes of a piece of the vocabulary. */
  bytes(piece: string): Uint8Array;
  /** Spaces that are taken from the start of a text because the normalizer put them there. */
  readonly leadingSpaces: number;
}

const utf8 = new TextEncoder();

/**
 * Reads the `decoder` of a tokenizer.json: ByteLevel (GPT-2, tekken) or the metaspace family (SentencePiece, Llama,
 * Mistral v0.1 to v0.3).
 *
 * @throws InputError for any other decoder.
 */
export function pieceDecoder(root: Fields): PieceDecoder {
  const steps = stepsOf(root, "decoder", "decoders");
  const types = steps.map((step) => step.text("type"));
  if (types.includes("ByteLevel")) return { leadingSpaces: 0, bytes: (piece) => alphabetBytes(piece) ?? utf8.encode(piece) };
  if (types.some((type) => type === "Metaspace" || type === "ByteFallback" || type === "Replace")) return metaspace(steps);
  throw root.error("decoder", types.join("+") || "none", "ByteLevel, Metaspace, or a Sequence of Replace, ByteFallback, Fuse and Strip");
}

function metaspace(steps: readonly Fields[]): PieceDecoder {
  let leadingSpaces = 0;
  let fallback = false;
  const replacements: (readonly [from: string, to: string])[] = [];
  for (const step of steps) {
    const type = step.text("type");
    switch (type) {
      case "Replace":
        replacements.push([step.object("pattern").someText("String"), step.text("content")]);
        break;
      case "Metaspace":
        replacements.push([step.someText("replacement"), " "]);
        if (step.text("prepend_scheme", "always") !== "never") leadingSpaces = 1;
        break;
      case "Strip":
        if (step.text("content") === " ") leadingSpaces = step.integer("start", 1 << 16);
        break;
      case "ByteFallback":
        fallback = true;
        break;
      case "Fuse":
        break;
      default:
        throw step.error("type", type, "Replace, ByteFallback, Fuse, Strip or Metaspace");
    }
  }
  return {
    leadingSpaces,
    bytes(piece) {
      const byte = fallback ? /^<0x([0-9A-Fa-f]{2})>$/.exec(piece)?.[1] : undefined;
      if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16));
      let text = piece;
      for (const [from, to] of replacements) text = text.replaceAll(from, to);
      return utf8.encode(text);
    },
  };
}
