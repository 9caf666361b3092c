import { Merger } from "../bpe/merger.ts";
import type { AddedToken, Symbols } from "../bpe/model.ts";
import { type PairTable, PairTableBuilder } from "../bpe/pair-table.ts";
import { type Fields, LARGEST_VOCABULARY, readJson } from "../fields.ts";
import { packPieces, type Piece } from "../vocabulary.ts";
import { alphabetBytes, byteAlphabet } from "./byte-alphabet.ts";
import { readFrame } from "./frame.ts";
import { instructOf } from "./instruct-version.ts";
import { pieceDecoder } from "./piece-decoder.ts";
import { metaspaceWords, readNormalizer, readPreTokenizer } from "./pipeline.ts";
import type { TokenizerSource } from "./source.ts";

/**
 * Reads a Hugging Face `tokenizer.json` with a BPE model, byte-level or with U+2581 for spaces.
 *
 * @throws InputError naming file and field when it is none, or asks for what this program does not follow.
 */
export async function readTokenizerJson(file: string): Promise<TokenizerSource> {
  const root = await readJson(file);
  const model = root.object("model");
  const type = model.text("type", "BPE");
  if (type !== "BPE") throw model.error("type", type, "BPE");
  for (const name of ["continuing_subword_prefix", "end_of_word_suffix"]) if (model.text(name, "") !== "") throw model.error(name, model.text(name), "none");
  const dropout = model.raw("dropout") ?? 0;
  if (dropout !== 0) throw model.error("dropout", dropout, "none: encoding must not depend on chance");

  const ids = readVocabulary(model);
  const added = readAdded(root, ids);
  const { splits, byteLevel } = readPreTokenizer(root);
  const pairs = readMerges(model, ids);
  const symbols = byteLevel ? byteSymbols(ids) : characterSymbols(ids, model.flag("byte_fallback", false));
  const unknown = model.has("unk_token") ? model.text("unk_token") : undefined;
  const unknownId = unknown === undefined ? undefined : ids.get(unknown);
  if (unknown !== undefined && unknownId === undefined) throw model.error("unk_token", unknown, "a token of model.vocab, or null");

  const decoder = pieceDecoder(root);
  const pieces: (Piece | undefined)[] = [];
  for (const [piece, id] of ids) place(pieces, id, { bytes: decoder.bytes(piece), special: false });
  const utf8 = new TextEncoder();
  for (const { id, content, special } of added) place(pieces, id, { bytes: utf8.encode(content), special });
  
  return {
    model: {
      added,
      normalizer: readNormalizer(root),
      splits: byteLevel ? splits : [...splits, ...metaspaceWords(ids.keys())],
      symbols,
      pairs: pairs.entries,
      whole: model.flag("ignore_merges", false) ? unreached(ids, symbols, pairs) : new Map(),
      unknown: unknownId,
      fuseUnknown: model.flag("fuse_unk", false),
    },
    vocabulary: packPieces(pieces),
    leadingSpaces: decoder.leadingSpaces,
    frame: readFrame(root, (id) => pieces[id] !== undefined),
    controls: { bosToken: undefined, eosToken: undefined, unkToken: unknown, padToken: undefined },
    instruct: instructOf((token) => ids.get(token) ?? added.find(({ content }) => content === token)?.id),
  };
}

function place(pieces: (Piece | undefined)[], id: number, piece: Piece): void {
  while (pieces.length <= id) pieces.push(undefined);
  pieces[id] = piece;
}

function readVocabulary(model: Fields): Map<string, number> {
  const vocab = model.object("vocab");
  const ids = new Map<string, number>();
  const names = new Map<number, string>();
  for (const piece of vocab.names()) {
    const id = vocab.integer(piece, LARGEST_VOCABULARY);
    const other = names.get(id);
    if (other !== undefined) throw vocab.error(piece, id, `an id of its own; ${JSON.stringify(other)} has it`);
    names.set(id, piece);
    ids.set(piece, id);
  }
  return ids;
}

function readAdded(root: Fields, ids: ReadonlyMap<string, number>): AddedToken[] {
  const names = new Map<number, string>();
  for (const [piece, id] of ids) names.set(id, piece);
  return root.objects("added_tokens", []).map((token) => {
    const content = token.someText("content");
    const id = token.integer("id", LARGEST_VOCABULARY);
    const other = names.get(id);
    if (other !== undefined && other !== content) throw token.error("id", id, `an id of its own; ${JSON.stringify(other)} has it`);
    const known = ids.get(content);
    if (known !== undefined && known !== id) throw token.error("id", id, `${known}, its id in model.vocab`);
    names.set(id, content);
    const special = token.flag("special", false);
    return {
      id,
      content,
      special,
      singleWord: token.flag("single_word", false),
      lstrip: token.flag("lstrip", false),
      rstrip: token.flag("rstrip", false),
      normalized: token.flag("normalized", !special),
    };
  });
}

function readMerges(model: Fields, ids: ReadonlyMap<string, number>): PairTable {
  const pairs = new PairTableBuilder();
  for (const [rank, merge] of model.list("merges").entries()) {
    const parts: unknown[] = typeof merge === "string" ? merge.split(" ") : Array.isArray(merge) ? merge : [];
    const [left, right] = parts;
    if (parts.length !== 2 || typeof left !== "string" || typeof right !== "string") throw model.error(`merges.${rank}`, merge, "two tokens");
    const [leftId, rightId, merged] = [ids.get(left), ids.get(right), ids.get(left + right)];
    if (leftId === undefined || rightId === undefined || merged === undefined) {
      throw model.error(`merges.${rank}`, `${left} ${right}`, "tokens of model.vocab that join to a token of it");
    }
    pairs.add(leftId, rightId, rank, merged);
  }
  return pairs.build();
}

function byteSymbols(ids: ReadonlyMap<string, number>): Symbols {
  return { kind: "bytes", ids: Int32Array.from(byteAlphabet, (point) => ids.get(String.fromCodePoint(point)) ?? -1) };
}

function characterSymbols(ids: ReadonlyMap<string, number>, byteFallback: boolean): Symbols {
  const characters = new Map<number, number>();
  for (const [piece, id] of ids) {
    const point = piece.codePointAt(0);
    if (point !== undefined && piece.length === (point > 0xffff ? 2 : 1)) characters.set(point, id);
  }
  const fallback = byteFallback
    ? Int32Array.from({ length: 256 }, (_, byte) => ids.get(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`) ?? -1)
    : undefined;
  return { kind: "characters", ids: characters, fallback };
}

/** With ignore_merges a word that is a token is that token, even where merging does not lead to it. */
function unreached(ids: ReadonlyMap<string, number>, symbols: Symbols, pairs: PairTable): Map<string, number> {
  const merger = new Merger(pairs);
  const whole = new Map<string, number>();
  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  for (const [piece, id] of ids) {
    const start = symbols.kind === "bytes" ? alphabetBytes(piece) : Array.from(piece, (character) => character.codePointAt(0) ?? 0);
    if (start === undefined || start.length === 0) continue;
    merger.reserve(start.length);
    for (const [i, symbol] of start.entries()) merger.ids[i] = (symbols.kind === "bytes" ? symbols.ids[symbol] : symbols.ids.get(symbol)) ?? -1;
    if (merger.merge(start.length) === 1 && merger.ids[0] === id) continue;
    try {
      whole.set(symbols.kind === "bytes" ? utf8.decode(start as Uint8Array) : piece, id);
    } catch {
      // No text is cut inside of a character.
    }
  }
  return whole;
}
