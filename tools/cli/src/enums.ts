import type { DescEnum } from "@bufbuild/protobuf";
import type { GenEnum } from "@bufbuild/protobuf/codegenv2";
import { badInput } from "./output.ts";

/** An enum value as a word: OPERATION_STATE_RUNNING is "running". */
export function enumWord(schema: DescEnum, value: number): string {
  const found = schema.value[value];
  return found === undefined ? String(value) : found.localName.toLowerCase().replaceAll("_", "-");
}

/** The value that a word names; throws bad input listing the words. */
export function enumValue<Value extends number>(schema: GenEnum<Value>, word: string, option: string): Value {
  const wanted = word.toUpperCase().replaceAll("-", "_");
  const found = schema.values.find((value) => value.number !== 0 && value.localName === wanted);
  if (found !== undefined) return found.number as Value;
  throw badInput(`${option} does not know "${word}"`, { field: option, got: word, wanted: enumWords(schema).join(", ") });
}

/** The words of an enum, the unspecified one left out. */
export function enumWords(schema: DescEnum): readonly string[] {
  return schema.values.filter((value) => value.number !== 0).map((value) => enumWord(schema, value.number));
}
