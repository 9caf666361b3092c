import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { InputError } from "@mistral-sae/tensor";
import type { Encoding, Tokenizer as NativeTokenizer } from "tokenizers";
import type { EncodedText, TokenCodec } from "./codec.ts";
import { refuseHazards } from "./hazards.ts";
import { pieceDecoder } from "./hf-decoder.ts";
import { readFrame } from "./hf-template.ts";
import { type Piece, Vocabulary } from "./vocabulary.ts";

// The package is CommonJS around a native binding, whose names an ESM import does not see.
const native = createRequire(import.meta.url)("tokenizers") as typeof import("tokenizers");

/** Beyond every published vocabulary; bounds what a damaged file can make this program allocate. */
const LARGEST_VOCABULARY = 1 << 22;

interface AddedTokenJson {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/**
 * A codec from a Hugging Face `tokenizer.json`.
 *
 * @throws InputError naming the file when it is no JSON, or not a tokenizer this program reads.
 */
export async function readHfCodec(file: string): Promise<TokenCodec> {
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    throw new InputError(`${file}: cannot be read (${messageOf(error)})`, { file, wanted: "a tokenizer.json" });
  });
  let json: { readonly added_tokens?: AddedTokenJson[]; readonly decoder?: unknown; readonly [field: string]: unknown };
  let tokenizer: NativeTokenizer;
  try {
    json = JSON.parse(text) as typeof json;
    // The frame of a text is read here (readFrame); the native tokenizer is not to add it a second time.
    tokenizer = native.Tokenizer.fromString(JSON.stringify({ ...json, post_processor: null }));
  } catch (error) {
    throw new InputError(`${file}: is not a tokenizer.json (${messageOf(error)})`, {
      file,
      wanted: "a tokenizer.json written by Hugging Face tokenizers",
    });
  }
  refuseHazards(file, json);
  // A file may ask for truncation or padding; neither may ever change what the caller sent.
  tokenizer.disableTruncation();
  tokenizer.disablePadding();

  const decoder = pieceDecoder(file, json.decoder);
  const ids = tokenizer.getVocab(true);
  const added = new Map((json.added_tokens ?? []).map((token) => [token.id, token]));
  const size = Object.values(ids).reduce((most, id) => Math.max(most, id + 1), 0);
  if (size > LARGEST_VOCABULARY) {
    throw new InputError(`${file}: an id is too large`, {
      file,
      field: "model.vocab",
      got: size - 1,
      wanted: `less than ${LARGEST_VOCABULARY}`,
    });
  }
  const pieces = Array.from<Piece | undefined>({ length: size });
  const utf8 = new TextEncoder();
  for (const [piece, id] of Object.entries(ids)) {
    const token = added.get(id);
    pieces[id] =
      token === undefined
        ? { bytes: decoder.bytes(piece), special: false }
        : { bytes: utf8.encode(token.content), special: token.special };
  }
  const vocabulary = new Vocabulary(pieces);
  const frame = readFrame(file, json["post_processor"], (id) => vocabulary.has(id));

  return {
    vocabulary,
    leadingSpaces: decoder.leadingSpaces,
    frame,
    idOf: (token) => tokenizer.tokenToId(token) ?? undefined,
    async encode(texts, { offsets }) {
      const encodings = await tokenizer.encodeBatch([...texts], { addSpecialTokens: false });
      return encodings.map((encoding) => encoded(encoding, offsets));
    },
  };
}

function encoded(encoding: Encoding, offsets: boolean): EncodedText {
  return {
    ids: Uint32Array.from(encoding.getIds()),
    offsets: offsets ? Uint32Array.from(encoding.getOffsets().flat()) : undefined,
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
