import { fromJson, toJson, type DescField, type JsonObject, type JsonValue } from "@bufbuild/protobuf";
import { TrainingConfigSchema, type TrainingConfig } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import type { SweepAxis } from "@mistral-sae/contracts/mistral_sae/training/v1/sweep";
import { invalidArgument } from "@mistral-sae/rpc";

/** One run of a sweep: the common configuration with a value of each axis. */
export interface Combination {
  /** The value of each axis by its field, as it was written. */
  readonly values: Readonly<Record<string, string>>;
  readonly config: TrainingConfig;
}

export const MOST_COMBINATIONS = 256;

interface Axis {
  readonly field: DescField;
  readonly values: readonly { readonly text: string; readonly json: JsonValue }[];
}

/** Every combination of the axes' values over the common configuration, the last axis fastest. @throws RpcError INVALID_ARGUMENT. */
export function combinations(common: TrainingConfig, axes: readonly SweepAxis[]): Combination[] {
  if (axes.length === 0) throw invalidArgument("axes", "got none, wanted at least 1");
  const parsed = axes.map(parseAxis);
  const twice = axes.findIndex(({ field }, at) => axes.findIndex((other) => other.field === field) < at);
  if (twice >= 0) throw invalidArgument(`axes[${twice}].field`, `got ${axes[twice]?.field} twice, wanted each field once`);
  const count = parsed.reduce((product, { values }) => product * values.length, 1);
  if (count > MOST_COMBINATIONS) throw invalidArgument("axes", `got ${count} combinations, wanted at most ${MOST_COMBINATIONS}`);
  const base = toJson(TrainingConfigSchema, common, { useProtoFieldName: true }) as JsonObject;
  let made: { readonly values: Record<string, string>; readonly json: JsonObject }[] = [{ values: {}, json: base }];
  for (const { field, values } of parsed) {
    made = made.flatMap((before) => values.map(({ text, json }) => ({ values: { ...before.values, [field.name]: text }, json: { ...before.json, [field.name]: json } })));
  }
  return made.map(({ values, json }) => ({ values, config: fromJson(TrainingConfigSchema, json) }));
}

function parseAxis({ field: name, values }: SweepAxis, at: number): Axis {
  const field = TrainingConfigSchema.fields.find((known) => known.name === name);
  if (field === undefined) throw invalidArgument(`axes[${at}].field`, `got ${JSON.stringify(name)}, wanted a field of TrainingConfig, such as k, d_sae, seed or lr`);
  if (values.length === 0) throw invalidArgument(`axes[${at}].values`, `${name}: got none, wanted at least 1`);
  const parsed = values.map((text, index) => {
    const json = jsonOf(field, text);
    try {
      fromJson(TrainingConfigSchema, { [name]: json });
    } catch {
      throw invalidArgument(`axes[${at}].values[${index}]`, `${name}: got ${text}, wanted ${wantedOf(field)}`);
    }
    return { text, json };
  });
  const twice = parsed.findIndex(({ json }, index) => parsed.findIndex((other) => JSON.stringify(other.json) === JSON.stringify(json)) < index);
  if (twice >= 0) throw invalidArgument(`axes[${at}].values[${twice}]`, `${name}: got ${values[twice]} twice, wanted each value once`);
  return { field, values: parsed };
}

/** A value as JSON; a word needs no quotes, and one of an enum no prefix. */
function jsonOf(field: DescField, text: string): JsonValue {
  let value: JsonValue;
  try {
    value = JSON.parse(text) as JsonValue;
  } catch {
    value = text;
  }
  if (field.enum === undefined || typeof value !== "string") return value;
  const word = value.toUpperCase().replaceAll("-", "_");
  return field.enum.values.find(({ name, localName }) => name === word || localName === word)?.name ?? value;
}

function wantedOf(field: DescField): string {
  if (field.enum !== undefined) return field.enum.values.flatMap(({ number, localName }) => (number === 0 ? [] : [localName.toLowerCase()])).join(", ");
  if (field.fieldKind === "list") return "a list as in JSON, e.g. [256, 1024]";
  if (field.fieldKind === "scalar") return "a value of the field's type, as in JSON";
  return "a message as in JSON";
}
