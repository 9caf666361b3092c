import { Precision } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import type { EnginePrecision } from "@mistral-sae/model";

const numbers: Readonly<Record<EnginePrecision, Precision>> = { f32: Precision.F32, int8: Precision.INT8, int4: Precision.INT4 };

/** The precisions that models can be loaded at. */
export const enginePrecisions = Object.keys(numbers) as readonly EnginePrecision[];

/** The contract's number of an engine's precision; unspecified for none. */
export function precisionNumber(precision: EnginePrecision | undefined): Precision {
  return precision === undefined ? Precision.UNSPECIFIED : numbers[precision];
}

/** The engine's word for a precision; undefined where none is offered. */
export function enginePrecision(precision: number): EnginePrecision | undefined {
  return enginePrecisions.find((known) => numbers[known] === precision);
}
