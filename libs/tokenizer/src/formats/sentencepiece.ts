import { basename } from "node:path";
import { InputError } from "@mistral-sae/tensor";
import type { AddedToken, NormalizerStep, SplitStep } from "../bpe/model.ts";
import { type PairTable, PairTableBuilder } from "../bpe/pair-table.ts";
import { literalPattern } from "../bpe/pattern.ts";
import { readBytes } from "../fields.ts";
import { packPieces, type Piece } from "../vocabulary.ts";
import { instructOf } from "./instruct-version.ts";
import { type ModelProto, parseModelProto, PieceType } from "./model-proto.ts";
import { metaspaceWords } from "./pipeline.ts";
import type { InstructVersion, TokenizerSource } from "./source.ts";

const SPACE = "\u2581";

/**
 * Reads a SentencePiece BPE model: `tokenizer.model`, and Mistral's `tokenizer.model.v1` to `.v7`. Control tokens are
 * found in texts as in a tokenizer.json made from it; what stands between them gets the dummy prefix each.
 *
 * @throws InputError naming file and field when it is none, or asks for what this program does not follow.
 */
export async function readSentencePiece(file: string): Promise<TokenizerSource> {
  const proto = parseModelProto(file, await readBytes(file));
  refuseUnknown(file, proto);
  const ids = idsByPiece(file, proto);
  const normal = new Map<string, number>();
  for (const [id, { piece, type }] of proto.pieces.entries()) if (type === PieceType.normal) normal.set(piece, id);
  const characters = new Map<number, number>();
  for (const [piece, id] of normal) {
    const point = piece.codePointAt(0) ?? 0;
    if (piece.length === (point > 0xffff ? 2 : 1)) characters.set(point, id);
  }
  const unknown = proto.pieces.findIndex(({ type }) => type === PieceType.unknown);
  const control = (piece: string): number | undefined => {
    const id = ids.get(piece);
    return id !== undefined && proto.pieces[id]?.type === PieceType.control ? id : undefined;
  };
  const bos = control(proto.bosPiece);
  const kept = proto.pieces.flatMap(({ piece, type }, id) => (type === PieceType.userDefined ? [[escaped(piece, proto), id] as const] : []));
  return {
    model: {
      added: proto.pieces.flatMap(({ piece, type }, id) => (type === PieceType.control || type === PieceType.unknown ? [addedToken(piece, id)] : [])),
      normalizer: normalizerOf(proto),
      splits: [...keptWords(kept.map(([piece]) => piece)), ...metaspaceWords([...normal.keys(), ...kept.map(([piece]) => piece)])],
      symbols: { kind: "characters", ids: characters, fallback: proto.byteFallback ? byteIds(file, ids) : undefined },
      pairs: pairsOf(file, proto, normal, characters).entries,
      whole: new Map(kept),
      unknown: unknown < 0 ? undefined : unknown,
      fuseUnknown: true,
    },
    vocabulary: packPieces(proto.pieces.map(vocabularyPiece)),
    leadingSpaces: proto.addDummyPrefix ? 1 : 0,
    frame: { prefix: bos === undefined ? [] : [bos], suffix: [] },
    controls: {
      bosToken: bos === undefined ? undefined : proto.bosPiece,
      eosToken: control(proto.eosPiece) === undefined ? undefined : proto.eosPiece,
      unkToken: proto.pieces[unknown]?.piece,
      padToken: control(proto.padPiece) === undefined ? undefined : proto.padPiece,
    },
    instruct: versionOf(file) ?? instructOf(control),
  };
}

/** The version that Mistral writes behind the name (`tokenizer.model.v3`, `.v7m1` with images). */
function versionOf(file: string): InstructVersion | undefined {
  const version = /\.model\.v(\d{1,2})(?:m\d+)?$/.exec(basename(file))?.[1];
  if (version === undefined) return undefined;
  if (version === "1") return "v1";
  if (version === "2") return "v2";
  return Number(version) < 7 ? "v3" : "v7";
}

function refuseUnknown(file: string, proto: ModelProto): void {
  const refuse = (field: string, got: unknown, wanted: string): InputError =>
    new InputError(`${file}: is a SentencePiece model that this program does not follow`, { file, field, got, wanted });
  if (proto.pieces.length === 0) throw refuse("pieces", "none", "at least one");
  if (proto.modelType !== 2) throw refuse("trainer_spec.model_type", proto.modelType, "2, BPE");
  if (proto.treatWhitespaceAsSuffix) throw refuse("trainer_spec.treat_whitespace_as_suffix", "true", "false");
  if (proto.charsmapBytes > 0) throw refuse("normalizer_spec.precompiled_charsmap", `${proto.charsmapBytes} bytes of rules`, "none, the rule identity");
}

function idsByPiece(file: string, { pieces }: ModelProto): Map<string, number> {
  const known: ReadonlySet<number> = new Set([PieceType.normal, PieceType.unknown, PieceType.control, PieceType.userDefined, PieceType.byte]);
  const ids = new Map<string, number>();
  for (const [id, { piece, type }] of pieces.entries()) {
    const refuse = (field: string, got: unknown, wanted: string): InputError =>
      new InputError(`${file}: a piece cannot be used`, { file, field: `pieces.${id}.${field}`, got, wanted });
    if (piece === "") throw refuse("piece", '""', "at least one character");
    if (!known.has(type)) throw refuse("type", type, "1 to 4 or 6");
    if (type === PieceType.byte && !/^<0x[0-9A-F]{2}>$/.test(piece)) throw refuse("piece", piece, "<0x00> to <0xFF>");
    if (ids.has(piece)) throw refuse("piece", piece, `a text of its own; piece ${ids.get(piece)} has it`);
    ids.set(piece, id);
  }
  return ids;
}

/** Every way to cut a piece into two others is a merge; SentencePiece asks only whether the joined text is a piece. */
function pairsOf(file: string, { pieces }: ModelProto, normal: ReadonlyMap<string, number>, characters: ReadonlyMap<number, number>): PairTable {
  const scores = [...new Set([...normal.values()].map((id) => pieces[id]?.score ?? 0))].toSorted((a, b) => b - a);
  const rankOf = new Map(scores.map((score, rank) => [score, rank]));
  const pairs = new PairTableBuilder();
  for (const [piece, id] of normal) {
    const rank = rankOf.get(pieces[id]?.score ?? 0) ?? 0;
    for (let at = 0; at < piece.length; ) {
      const point = piece.codePointAt(at) ?? 0;
      if (!characters.has(point)) {
        const got = String.fromCodePoint(point);
        throw new InputError(`${file}: a piece cannot be used`, { file, field: `pieces.${id}.piece`, got: `${piece} with ${got}, which is no piece`, wanted: "characters that are pieces" });
      }
      at += point > 0xffff ? 2 : 1;
      if (at === piece.length) break;
      const left = normal.get(piece.slice(0, at));
      const right = left === undefined ? undefined : normal.get(piece.slice(at));
      if (left !== undefined && right !== undefined) pairs.add(left, right, rank, id);
    }
  }
  return pairs.build();
}

function byteIds(file: string, ids: ReadonlyMap<string, number>): Int32Array {
  return Int32Array.from({ length: 256 }, (_, byte) => {
    const piece = byteName(byte);
    const id = ids.get(piece);
    if (id === undefined) throw new InputError(`${file}: a byte has no piece`, { file, field: "pieces", got: `no ${piece}`, wanted: "all of <0x00> to <0xFF>, or no byte_fallback" });
    return id;
  });
}

function byteName(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}

function normalizerOf(proto: ModelProto): NormalizerStep[] {
  return [
    ...(proto.removeExtraWhitespaces ? [{ kind: "squeeze" } as const] : []),
    ...(proto.addDummyPrefix ? [{ kind: "prepend", text: proto.escapeWhitespaces ? SPACE : " " } as const] : []),
    ...(proto.escapeWhitespaces ? [{ kind: "replace", from: " ", to: SPACE } as const] : []),
  ];
}

function escaped(piece: string, { escapeWhitespaces }: ModelProto): string {
  return escapeWhitespaces ? piece.replaceAll(" ", SPACE) : piece;
}

/** User-defined symbols are words wherever they stand, the longest first. */
function keptWords(pieces: readonly string[]): SplitStep[] {
  if (pieces.length === 0) return [];
  const source = pieces
    .toSorted((a, b) => b.length - a.length)
    .map(literalPattern)
    .join("|");
  return [{ kind: "pattern", source, behavior: "Isolated", invert: false }];
}

function addedToken(content: string, id: number): AddedToken {
  return { id, content, special: true, singleWord: false, lstrip: false, rstrip: false, normalized: false };
}

function vocabularyPiece({ piece, type }: { readonly piece: string; readonly type: number }): Piece {
  if (type === PieceType.byte) return { bytes: Uint8Array.of(Number.parseInt(piece.slice(3, 5), 16)), special: false };
  const special = type === PieceType.control || type === PieceType.unknown;
  return { bytes: new TextEncoder().encode(special ? piece : piece.replaceAll(SPACE, " ")), special };
}
