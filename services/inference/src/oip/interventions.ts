import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { type Intervention, InterventionSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { invalidArgument } from "@mistral-sae/rpc";
import type { Parameters } from "./parameters.ts";

/** The interventions of a request: a JSON list of Intervention messages. @throws INVALID_ARGUMENT naming the entry. */
export function readInterventions(parameters: Parameters): Intervention[] {
  const text = parameters.string("interventions");
  if (text === undefined) return [];
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch (error) {
    throw invalidArgument("parameters[interventions]", `is not JSON (${String(error)}), wanted a list of Intervention messages`);
  }
  if (!Array.isArray(list)) throw invalidArgument("parameters[interventions]", "is no list, wanted a list of Intervention messages");
  return list.map((entry, i) => {
    try {
      return fromJson(InterventionSchema, entry as JsonValue);
    } catch (error) {
      throw invalidArgument(`parameters[interventions][${i}]`, error instanceof Error ? error.message : String(error));
    }
  });
}
