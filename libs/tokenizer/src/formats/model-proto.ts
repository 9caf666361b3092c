import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { InputError } from "@mistral-sae/tensor";
import { LARGEST_VOCABULARY, messageOf } from "../fields.ts";

/** SentencePiece's kinds of pieces, by their number in the file. */
export const PieceType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

export interface SentencePiece {
  readonly piece: string;
  readonly score: number;
  /** One of PieceType. */
  readonly type: number;
}

/** The fields of a SentencePiece ModelProto that encoding depends on. */
export interface ModelProto {
  readonly pieces: readonly SentencePiece[];
  /** 1 unigram, 2 BPE, 3 word, 4 char. */
  readonly modelType: number;
  readonly byteFallback: boolean;
  readonly treatWhitespaceAsSuffix: boolean;
  readonly bosPiece: string;
  readonly eosPiece: string;
  readonly padPiece: string;
  /** Bytes of the compiled normalisation rules; 0 for none. */
  readonly charsmapBytes: number;
  readonly addDummyPrefix: boolean;
  readonly removeExtraWhitespaces: boolean;
  readonly escapeWhitespaces: boolean;
}

type Scalar = number | string | Uint8Array;

/**
 * Parses a SentencePiece model (protobuf).
 *
 * @throws InputError naming the field when the bytes are none.
 */
export function parseModelProto(file: string, bytes: Uint8Array): ModelProto {
  const pieces: SentencePiece[] = [];
  let trainer = new Map<number, Scalar>();
  let normalizer = new Map<number, Scalar>();
  let field = "the message";
  try {
    const reader = new BinaryReader(bytes);
    while (reader.pos < reader.len) {
      const [number, wire] = reader.tag();
      if (number < 1 || number > 3) {
        field = `field ${number}`;
        reader.skip(wire, number);
        continue;
      }
      field = number === 1 ? `pieces.${pieces.length}` : number === 2 ? "trainer_spec" : "normalizer_spec";
      if (wire !== WireType.LengthDelimited) throw new Error("is no message");
      const message = scalars(reader.bytes());
      if (number === 2) trainer = message;
      else if (number === 3) normalizer = message;
      else pieces.push({ piece: text(message, 1, ""), score: numeric(message, 2, 0), type: numeric(message, 3, PieceType.normal) });
      if (pieces.length > LARGEST_VOCABULARY) throw new Error(`more than ${LARGEST_VOCABULARY} pieces`);
    }
    field = "trainer_spec";
    const trained = {
      modelType: numeric(trainer, 3, 1),
      byteFallback: numeric(trainer, 35, 0) !== 0,
      treatWhitespaceAsSuffix: numeric(trainer, 24, 0) !== 0,
      bosPiece: text(trainer, 46, "<s>"),
      eosPiece: text(trainer, 47, "</s>"),
      padPiece: text(trainer, 48, "<pad>"),
    };
    field = "normalizer_spec";
    const charsmap = normalizer.get(2);
    return {
      pieces,
      ...trained,
      charsmapBytes: charsmap instanceof Uint8Array ? charsmap.length : 0,
      addDummyPrefix: numeric(normalizer, 3, 1) !== 0,
      removeExtraWhitespaces: numeric(normalizer, 4, 1) !== 0,
      escapeWhitespaces: numeric(normalizer, 5, 1) !== 0,
    };
  } catch (error) {
    throw new InputError(`${file}: is not a SentencePiece model (${messageOf(error)})`, { file, field, wanted: "a ModelProto as spm_train writes it" });
  }
}

/** The last value of each field that is a number or bytes. */
function scalars(bytes: Uint8Array): Map<number, Scalar> {
  const values = new Map<number, Scalar>();
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [number, wire] = reader.tag();
    if (wire === WireType.Varint) values.set(number, reader.int32());
    else if (wire === WireType.Bit32) values.set(number, reader.float());
    else if (wire === WireType.LengthDelimited) values.set(number, reader.bytes());
    else reader.skip(wire, number);
  }
  return values;
}

function numeric(message: ReadonlyMap<number, Scalar>, field: number, fallback: number): number {
  const value = message.get(field) ?? fallback;
  if (typeof value !== "number" || Number.isNaN(value)) throw new Error(`its field ${field} is no number`);
  return value;
}

function text(message: ReadonlyMap<number, Scalar>, field: number, fallback: string): string {
  const value = message.get(field);
  if (value === undefined) return fallback;
  if (!(value instanceof Uint8Array)) throw new Error(`its field ${field} is no text`);
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(value);
}
