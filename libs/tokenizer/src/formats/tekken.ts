import { Merger } from "../bpe/merger.ts";
import type { AddedToken } from "../bpe/model.ts";
import { type PairTable, PairTableBuilder } from "../bpe/pair-table.ts";
import { translatePattern } from "../bpe/pattern.ts";
import { type Fields, LARGEST_VOCABULARY, readJson } from "../fields.ts";
import { packPieces, type Piece } from "../vocabulary.ts";
import type { InstructVersion, TokenizerSource } from "./source.ts";

/** The special tokens of files up to v7 that do not list them. */
const EARLY_SPECIAL_TOKENS = [
  ..."<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS]".split(" "),
  ..."[IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT]".split(" "),
];

/**
 * Reads Mistral's `tekken.json`: byte-pair encoding by rank of UTF-8 bytes, whose ids follow those of the special
 * tokens.
 *
 * @throws InputError naming file and field when it is none.
 */
export async function readTekken(file: string): Promise<TokenizerSource> {
  const root = await readJson(file);
  const config = root.object("config");
  const specials = config.integer("default_num_special_tokens", LARGEST_VOCABULARY);
  const size = config.integer("default_vocab_size", LARGEST_VOCABULARY);
  if (size < specials + 256) throw config.error("default_vocab_size", size, `at least ${specials + 256}: the special tokens and 256 bytes`);
  const splits = translatePattern(config.text("pattern"), { file, field: config.path("pattern") });
  const instruct = versionOf(config);
  const added = readSpecialTokens(root, specials, instruct);
  const tokens = readVocabulary(root, size - specials);

  const ids = new Map(tokens.map((token, rank) => [token.toString("latin1"), rank]));
  if (ids.size !== tokens.length) {
    const twice = tokens.findIndex((token, rank) => ids.get(token.toString("latin1")) !== rank);
    throw root.error(`vocab.${twice}.token_bytes`, tokens[twice]?.toString("base64"), "bytes of its own");
  }
  const pairs = pairsOf(ids, specials);
  const pieces: Piece[] = [];
  const utf8 = new TextEncoder();
  for (const { content } of added) pieces.push({ bytes: utf8.encode(content), special: true });
  for (const bytes of tokens) pieces.push({ bytes, special: false });
  const idOf = (content: string): number | undefined => added.find((token) => token.content === content)?.id;
  const bos = idOf("<s>");
  return {
    model: {
      added,
      normalizer: [],
      splits: [{ kind: "pattern", source: splits, behavior: "Isolated", invert: false }],
      symbols: { kind: "bytes", ids: Int32Array.from({ length: 256 }, (_, byte) => specials + byte) },
      pairs: pairs.entries,
      whole: unreached(tokens, specials, pairs),
      unknown: undefined,
      fuseUnknown: false,
    },
    vocabulary: packPieces(pieces),
    leadingSpaces: 0,
    frame: { prefix: bos === undefined ? [] : [bos], suffix: [] },
    controls: {
      bosToken: bos === undefined ? undefined : "<s>",
      eosToken: idOf("</s>") === undefined ? undefined : "</s>",
      unkToken: idOf("<unk>") === undefined ? undefined : "<unk>",
      padToken: idOf("<pad>") === undefined ? undefined : "<pad>",
    },
    instruct: idOf("[INST]") === undefined || idOf("[/INST]") === undefined ? undefined : instruct,
  };
}

function versionOf(config: Fields): InstructVersion {
  const version = config.text("version");
  const number = Number(/^v(\d{1,2})$/.exec(version)?.[1] ?? "0");
  if (number === 0) throw config.error("version", version, "v1 to v99");
  if (number < 3) return number === 1 ? "v1" : "v2";
  return number < 7 ? "v3" : "v7";
}

/** One for each of the first `count` ids; those that the file does not name are <SPECIAL_id>. */
function readSpecialTokens(root: Fields, count: number, instruct: InstructVersion): AddedToken[] {
  const contents = new Map<number, string>();
  if (root.has("special_tokens")) {
    for (const token of root.objects("special_tokens")) {
      const rank = token.integer("rank", count);
      if (contents.has(rank)) throw token.error("rank", rank, "a rank of its own");
      contents.set(rank, token.someText("token_str"));
    }
  } else {
    if (instruct === "v7" && root.object("config").text("version") !== "v7") throw root.error("special_tokens", "none", "a list, as all files after v7 have");
    for (const [rank, content] of EARLY_SPECIAL_TOKENS.slice(0, count).entries()) contents.set(rank, content);
  }
  const seen = new Set<string>();
  return Array.from({ length: count }, (_, id) => {
    const content = contents.get(id) ?? `<SPECIAL_${id}>`;
    if (seen.has(content)) throw root.error("special_tokens", content, "texts of their own");
    seen.add(content);
    return { id, content, special: true, singleWord: false, lstrip: false, rstrip: false, normalized: false };
  });
}

function readVocabulary(root: Fields, count: number): Buffer[] {
  const vocab = root.list("vocab");
  if (vocab.length < count) throw root.error("vocab", `${vocab.length} tokens`, `at least ${count}: default_vocab_size less default_num_special_tokens`);
  return vocab.slice(0, count).map((_, i) => {
    const token = root.item("vocab", i);
    const rank = token.integer("rank", LARGEST_VOCABULARY);
    if (rank !== i) throw token.error("rank", rank, `${i}, its place`);
    const text = token.text("token_bytes");
    const bytes = Buffer.from(text, "base64");
    if (bytes.length === 0 || bytes.toString("base64") !== text) throw token.error("token_bytes", text, "at least one byte in base64");
    if (i < 256 && (bytes.length !== 1 || bytes[0] !== i)) throw token.error("token_bytes", text, `byte ${i}: the first 256 tokens are the bytes in order`);
    return bytes;
  });
}

/** Every way to cut a token into two others is a merge: the joined bytes alone decide. */
function pairsOf(ids: ReadonlyMap<string, number>, offset: number): PairTable {
  const pairs = new PairTableBuilder();
  for (const [bytes, rank] of ids) {
    for (let at = 1; at < bytes.length; at++) {
      const left = ids.get(bytes.slice(0, at));
      const right = left === undefined ? undefined : ids.get(bytes.slice(at));
      if (left !== undefined && right !== undefined) pairs.add(offset + left, offset + right, rank, offset + rank);
    }
  }
  return pairs.build();
}

/** A word that is a token is that token, even where merging does not lead to it. */
function unreached(tokens: readonly Buffer[], offset: number, pairs: PairTable): Map<string, number> {
  const merger = new Merger(pairs);
  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const whole = new Map<string, number>();
  for (const [rank, bytes] of tokens.entries()) {
    merger.reserve(bytes.length);
    for (const [i, byte] of bytes.entries()) merger.ids[i] = offset + byte;
    if (merger.merge(bytes.length) === 1) continue;
    try {
      whole.set(utf8.decode(bytes), offset + rank);
    } catch {
      // No word is cut inside of a character.
    }
  }
  return whole;
}
