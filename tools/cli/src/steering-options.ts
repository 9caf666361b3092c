import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  SteeringMethod,
  SteeringMethodSchema,
  StrengthUnit,
  StrengthUnitSchema,
  type InterventionSchema,
} from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { Command } from "commander";
import type { Clients } from "./clients.ts";
import { decimal, repeated } from "./command.ts";
import { enumValue, enumWords } from "./enums.ts";
import { badInput } from "./output.ts";
import { resolveFeature } from "./resources.ts";

/** What is steered, as given on the command line. */
export interface SteeringOptions {
  readonly sae?: string;
  readonly feature?: readonly string[];
  readonly strength?: number;
  readonly unit?: string;
  readonly method?: string;
}

type InterventionInit = MessageInitShape<typeof InterventionSchema>;

const DEFAULT_STRENGTH = 0.4;

/** Adds --feature, --strength, --unit, --method and --sae to a command. */
export function addSteeringOptions(command: Command): Command {
  return command
    .option("--feature <index[:strength]>", "feature to steer; may be given again", repeated)
    .option("--strength <s>", `strength in --unit (default: ${DEFAULT_STRENGTH} of the residual's norm)`, decimal())
    .option("--unit <unit>", `what a strength is measured in: ${enumWords(StrengthUnitSchema).join(", ")}`)
    .option("--method <method>", `how: ${enumWords(SteeringMethodSchema).join(", ")} (default: add)`)
    .option("--sae <sae>", "the SAE; the only one loaded otherwise");
}

/** The unit and method asked for; by default a fraction of the residual's norm, added. */
export function unitAndMethod(options: SteeringOptions): { readonly unit: StrengthUnit; readonly method: SteeringMethod } {
  const method = options.method === undefined ? SteeringMethod.ADD : enumValue(SteeringMethodSchema, options.method, "--method");
  const byDefault = method === SteeringMethod.ADD ? StrengthUnit.RESID_NORM_FRACTION : StrengthUnit.RAW;
  return { method, unit: options.unit === undefined ? byDefault : enumValue(StrengthUnitSchema, options.unit, "--unit") };
}

/** One intervention for each --feature. */
export async function interventionsOf(clients: Clients, options: SteeringOptions, signal: AbortSignal): Promise<InterventionInit[]> {
  const { unit, method } = unitAndMethod(options);
  return Promise.all(
    (options.feature ?? []).map(async (given) => {
      const { text, strength } = splitStrength(given, options.strength, unit);
      const { sae, index } = await resolveFeature(clients, text, options.sae, signal);
      return {
        id: `feature-${index}`,
        target: { case: "feature", value: { sae, featureIndex: index } },
        method,
        unit,
        ...(method === SteeringMethod.ABLATE || strength === undefined ? {} : { strength }),
      };
    }),
  );
}

function splitStrength(given: string, common: number | undefined, unit: StrengthUnit): { readonly text: string; readonly strength: number | undefined } {
  const at = given.lastIndexOf(":");
  const text = at === -1 ? given : given.slice(0, at);
  const own = at === -1 ? undefined : Number(given.slice(at + 1));
  if (own !== undefined && (given.slice(at + 1).trim() === "" || !Number.isFinite(own))) {
    throw badInput("not a strength", { field: "--feature", got: given, wanted: "index:strength, as in 12:0.4" });
  }
  const strength = own ?? common ?? (unit === StrengthUnit.RESID_NORM_FRACTION ? DEFAULT_STRENGTH : undefined);
  return { text, strength };
}

