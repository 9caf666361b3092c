import { type DescField, type DescMessage, type Message, ScalarType, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";

/** Byte fields from this length on are left where they lie. */
const LARGE = 4096;

type Fields = Record<string, unknown>;

/**
 * The binary form of a message in pieces. Large byte fields are no copies but views of the message's memory; they come
 * after the other fields of their message, which protobuf allows.
 */
export function piecesOf(desc: DescMessage, message: Message): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  append(pieces, desc, message);
  return pieces;
}

/** Bytes of all pieces. */
export function lengthOf(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, { length }) => sum + length, 0);
}

function append(pieces: Uint8Array[], desc: DescMessage, message: Message): void {
  const large = largeFields(desc, message);
  if (large.length === 0) {
    pieces.push(toBinary(desc, message));
    return;
  }
  const rest: Fields = Object.assign(Object.create(Object.getPrototypeOf(message) as object) as Fields, message);
  for (const [field] of large) {
    if (field.oneof !== undefined) rest[field.oneof.localName] = { case: undefined };
    else if (field.fieldKind === "list") rest[field.localName] = [];
    else rest[field.localName] = field.presence === FeatureSet_FieldPresence.IMPLICIT ? new Uint8Array() : undefined;
  }
  pieces.push(toBinary(desc, rest as unknown as Message));
  for (const [field, values] of large) {
    for (const value of values) {
      const inner = field.message === undefined ? [value as Uint8Array] : piecesOf(field.message, value as Message);
      pieces.push(new BinaryWriter().tag(field.number, WireType.LengthDelimited).uint32(lengthOf(inner)).finish(), ...inner);
    }
  }
}

/** The fields of a message that are or hold large byte fields, with their values. */
function largeFields(desc: DescMessage, message: Message): [DescField, readonly unknown[]][] {
  const found: [DescField, readonly unknown[]][] = [];
  for (const field of bytesFields(desc)) {
    const values = valuesOf(field, message as unknown as Fields);
    if (values.some((value) => isLarge(field, value))) found.push([field, values]);
  }
  return found;
}

function valuesOf(field: DescField, message: Fields): readonly unknown[] {
  if (field.oneof !== undefined) {
    const chosen = message[field.oneof.localName] as { case?: string; value?: unknown } | undefined;
    return chosen?.case === field.localName ? [chosen.value] : [];
  }
  const value = message[field.localName];
  if (field.fieldKind === "list") return value as readonly unknown[];
  return value === undefined ? [] : [value];
}

function isLarge({ message: desc }: DescField, value: unknown): boolean {
  return desc === undefined ? (value as Uint8Array).length >= LARGE : largeFields(desc, value as Message).length > 0;
}

const known = new WeakMap<DescMessage, readonly DescField[]>();

/** Fields that are bytes, or messages with such fields; maps are left alone. */
function bytesFields(desc: DescMessage): readonly DescField[] {
  let fields = known.get(desc);
  if (fields === undefined) {
    // Entered first: a message may hold itself.
    known.set(desc, []);
    fields = desc.fields.filter((field) => isBytes(field) || (field.fieldKind !== "map" && field.message !== undefined && bytesFields(field.message).length > 0));
    known.set(desc, fields);
  }
  return fields;
}

function isBytes(field: DescField): boolean {
  return (field.fieldKind === "scalar" || field.fieldKind === "list") && field.scalar === ScalarType.BYTES;
}
