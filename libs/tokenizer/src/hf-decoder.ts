import { InputError } from "@mistral-sae/tensor";

/** How the pieces of a `tokenizer.json` become bytes. */
export interface PieceDecoder {
  /** Bytes of a piece of the vocabulary. */
  bytes(piece: string): Uint8Array;
  /** Spaces that are taken from the start of a text because the normalizer put them there. */
  readonly leadingSpaces: number;
}

interface DecoderJson {
  readonly type?: unknown;
  readonly decoders?: readonly DecoderJson[];
  readonly pattern?: { readonly String?: string };
  readonly content?: string;
  readonly start?: number;
  readonly replacement?: string;
  readonly prepend_scheme?: string;
}

const utf8 = new TextEncoder();

/**
 * Reads the `decoder` of a tokenizer.json: ByteLevel (GPT-2, tekken) or the metaspace family (SentencePiece, Llama,
 * Mistral v0.1 to v0.3).
 *
 * @throws InputError for any other decoder.
 */
export function pieceDecoder(file: string, decoder: unknown): PieceDecoder {
  const steps = flatten(decoder as DecoderJson | null | undefined);
  const types = steps.map((step) => String(step.type));
  if (types.includes("ByteLevel")) return byteLevel();
  if (types.some((type) => type === "Metaspace" || type === "ByteFallback" || type === "Replace")) {
    return metaspace(file, steps);
  }
  throw new InputError(`${file}: the tokenizer's decoder is unknown`, {
    file,
    field: "decoder",
    got: types.join("+") || "none",
    wanted: "ByteLevel, Metaspace, or a Sequence of Replace, ByteFallback, Fuse and Strip",
  });
}

function flatten(decoder: DecoderJson | null | undefined): DecoderJson[] {
  if (decoder === null || decoder === undefined) return [];
  if (decoder.type === "Sequence") return (decoder.decoders ?? []).flatMap(flatten);
  return [decoder];
}

function metaspace(file: string, steps: readonly DecoderJson[]): PieceDecoder {
  let leadingSpaces = 0;
  let fallback = false;
  const replacements: [string, string][] = [];
  for (const step of steps) {
    switch (step.type) {
      case "Replace":
        replacements.push([step.pattern?.String ?? "", step.content ?? ""]);
        break;
      case "Metaspace":
        replacements.push([step.replacement ?? "\u2581", " "]);
        if (step.prepend_scheme !== "never") leadingSpaces = 1;
        break;
      case "Strip":
        if (step.content === " ") leadingSpaces = step.start ?? 0;
        break;
      case "ByteFallback":
        fallback = true;
        break;
      case "Fuse":
        break;
      default:
        throw new InputError(`${file}: a step of the tokenizer's decoder is unknown`, {
          file,
          field: "decoder",
          got: String(step.type),
          wanted: "Replace, ByteFallback, Fuse, Strip or Metaspace",
        });
    }
  }
  return {
    leadingSpaces,
    bytes(piece) {
      const byte = fallback ? /^<0x([0-9A-Fa-f]{2})>$/.exec(piece)?.[1] : undefined;
      if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16));
      let text = piece;
      for (const [from, to] of replacements) if (from !== "") text = text.replaceAll(from, to);
      return utf8.encode(text);
    },
  };
}

/** GPT-2's bijection of bytes and printable characters, inverted. A piece outside its alphabet stands for itself. */
function byteLevel(): PieceDecoder {
  const byteOf = new Map<number, number>();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    byteOf.set(printable ? byte : next++, byte);
  }
  return {
    leadingSpaces: 0,
    bytes(piece) {
      const bytes: number[] = [];
      for (const character of piece) {
        const byte = byteOf.get(character.codePointAt(0) ?? 0);
        if (byte === undefined) return utf8.encode(piece);
        bytes.push(byte);
      }
      return Uint8Array.from(bytes);
    },
  };
}
