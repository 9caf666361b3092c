import { type Intervention, type Schedule, StrengthUnit } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { failedPrecondition, invalidArgument } from "@mistral-sae/rpc";
import { requireEffect } from "./effect.ts";
import { METHODS, type Method, type Option } from "./methods.ts";

/** The intervention's method. @throws INVALID_ARGUMENT for an unset or unknown one. */
export function methodOf(field: string, intervention: Intervention): Method {
  const method = METHODS.get(intervention.method);
  if (method !== undefined) return method;
  const known = [...METHODS.values()].map(({ label }) => label).join(", ");
  throw invalidArgument(`${field}.method`, `got ${intervention.method}, wanted one of ${known}`);
}

/** Which fields carry each option, and whether this intervention sets them. */
const OPTION_FIELDS: Readonly<Record<Option, readonly { name: string; set: (i: Intervention) => boolean }[]>> = {
  strength: [{ name: "strength", set: (i) => i.strength !== undefined }],
  bounds: [
    { name: "min", set: (i) => i.min !== undefined },
    { name: "max", set: (i) => i.max !== undefined },
  ],
  maxFraction: [{ name: "max_fraction", set: (i) => i.maxFraction !== undefined }],
  normalize: [{ name: "normalize", set: (i) => i.normalize !== undefined }],
  swapTarget: [{ name: "swap_target", set: (i) => i.swapTarget !== undefined }],
  keepErrorTerm: [{ name: "keep_error_term", set: (i) => i.keepErrorTerm !== undefined }],
  allowNegative: [{ name: "allow_negative", set: (i) => i.allowNegative }],
  schedule: [{ name: "schedule", set: (i) => !isConstantOne(i.schedule) }],
};

/**
 * Holds an intervention against its method: fields that do not apply are refused, those needed must be there, and
 * numbers are finite.
 *
 * @throws INVALID_ARGUMENT STEERING_FIELD_NOT_APPLICABLE, STEERING_NO_EFFECT, VALUE_NOT_FINITE or INVALID_FIELD;
 *   FAILED_PRECONDITION MAX_ACTIVATION_UNKNOWN.
 */
export function checkFields(field: string, intervention: Intervention, method: Method): void {
  for (const option of Object.keys(OPTION_FIELDS) as Option[]) {
    const given = OPTION_FIELDS[option].filter(({ set }) => set(intervention));
    const first = given[0];
    if (first !== undefined && !method.required.includes(option) && !method.optional.includes(option)) {
      throw notApplicable(`${field}.${first.name}`, `does not apply to ${method.label}; leave it unset`);
    }
    if (given.length === 0 && method.required.includes(option)) {
      const names = OPTION_FIELDS[option].map(({ name }) => name);
      throw invalidArgument(`${field}.${names[0]}`, `is not set; ${method.label} wants ${names.join(" or ")}`);
    }
  }
  checkNumbers(field, intervention, method);
  checkUnit(field, intervention, method);
  requireEffect(field, intervention, method);
}

function checkNumbers(field: string, { strength, min, max, maxFraction, allowNegative }: Intervention, method: Method): void {
  for (const [name, value] of Object.entries({ strength, min, max, max_fraction: maxFraction })) {
    if (value !== undefined && !Number.isFinite(value)) {
      throw invalidArgument(`${field}.${name}`, `got ${value}, wanted a finite number`, "VALUE_NOT_FINITE");
    }
  }
  if (min !== undefined && max !== undefined && min > max) {
    throw invalidArgument(`${field}.min`, `got ${min}, wanted at most max (${max})`);
  }
  if (maxFraction !== undefined && maxFraction <= 0) {
    throw invalidArgument(`${field}.max_fraction`, `got ${maxFraction}, wanted more than 0`);
  }
  if (method.method === "feature_set" && strength !== undefined && strength < 0 && !allowNegative) {
    throw invalidArgument(`${field}.strength`, `got ${strength}, wanted at least 0, or allow_negative`);
  }
}

function checkUnit(field: string, { unit }: Intervention, method: Method): void {
  const set = unit !== StrengthUnit.UNSPECIFIED && unit !== StrengthUnit.RAW;
  if (unit === StrengthUnit.MAX_ACTIVATION) {
    throw failedPrecondition(
      "MAX_ACTIVATION_UNKNOWN",
      `${field}.unit: MAX_ACTIVATION is resolved by the steering service from the feature index; send the strength as RAW here`,
    );
  }
  if (!set) return;
  if (unit !== StrengthUnit.RESID_NORM_FRACTION) throw invalidArgument(`${field}.unit`, `got ${unit}, wanted RAW or RESID_NORM_FRACTION`);
  if (method.method !== "add") {
    throw notApplicable(`${field}.unit`, `RESID_NORM_FRACTION applies to ADD alone; ${method.label} takes RAW`);
  }
}

function notApplicable(field: string, message: string): Error {
  return invalidArgument(field, message, "STEERING_FIELD_NOT_APPLICABLE");
}

/** The constant factor 1 is what every method has, so that it may be said of each. */
function isConstantOne(schedule: Schedule | undefined): boolean {
  const kind = schedule?.schedule;
  return kind?.case === undefined || (kind.case === "constant" && kind.value === 1);
}
