import type { InferParameter, ModelInferRequest } from "@mistral-sae/contracts/inference/grpc_predict_v2";
import { invalidArgument } from "@mistral-sae/rpc";
import type { Datatype, InputTensor } from "./tensors.ts";

/** A parameter of a model, which may come as an input tensor of the same name as well. */
export interface ParameterSpec {
  readonly name: string;
  readonly datatype: Datatype;
  /** [1], or [-1] where several are taken. */
  readonly shape: readonly number[];
  /** Whether it can be set on one requested output alone. */
  readonly ofOutput?: boolean;
}

type Value = string | number | bigint | boolean;

/** The parameters of a request: those of its `parameters` map and those that came as tensors. */
export class Parameters {
  readonly #values: ReadonlyMap<string, readonly Value[]>;

  private constructor(values: ReadonlyMap<string, readonly Value[]>) {
    this.#values = values;
  }

  /** @throws INVALID_ARGUMENT for one that is unknown, or set twice. */
  static read(request: ModelInferRequest, inputs: ReadonlyMap<string, InputTensor>, specs: readonly ParameterSpec[]): Parameters {
    const values = new Map<string, readonly Value[]>();
    for (const [name, parameter] of Object.entries(request.parameters)) {
      requireKnown("parameters", name, specs);
      values.set(name, [valueOf(`parameters[${name}]`, parameter)]);
    }
    for (const { name, shape } of specs) {
      const tensor = inputs.get(name);
      if (tensor === undefined) continue;
      if (values.has(name)) throw invalidArgument(`parameters[${name}]`, "is given as an input too, wanted one of the two");
      if (shape[0] === 1 && tensor.values.length !== 1) throw invalidArgument(`inputs["${name}"]`, `got ${tensor.values.length} elements, wanted 1`, "TENSOR_SIZE_MISMATCH");
      values.set(name, Array.from(tensor.values));
    }
    return new Parameters(values);
  }

  /** These parameters with those of one requested output over them. */
  with(output: string, parameters: Readonly<Record<string, InferParameter>>, specs: readonly ParameterSpec[]): Parameters {
    const values = new Map(this.#values);
    const ofOutput = specs.filter((spec) => spec.ofOutput === true);
    for (const [name, parameter] of Object.entries(parameters)) {
      requireKnown(`outputs[${JSON.stringify(output)}].parameters`, name, ofOutput);
      values.set(name, [valueOf(`outputs[${JSON.stringify(output)}].parameters[${name}]`, parameter)]);
    }
    return new Parameters(values);
  }

  /** Whether any of these is set. */
  has(...names: readonly string[]): boolean {
    return names.some((name) => this.#values.has(name));
  }

  string(name: string): string | undefined {
    return this.strings(name)?.[0];
  }

  strings(name: string): readonly string[] | undefined {
    return this.#values.get(name)?.map((value) => {
      if (typeof value !== "string") throw this.#wrong(name, value, "text");
      return value;
    });
  }

  number(name: string): number | undefined {
    const value = this.#values.get(name)?.[0];
    if (value === undefined || typeof value === "number") return value;
    if (typeof value === "bigint") return Number(value);
    throw this.#wrong(name, value, "a number");
  }

  /** An integer from 0. */
  count(name: string): number | undefined {
    const value = this.number(name);
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 0 || value >= 2 ** 32)) throw this.#wrong(name, value, "a whole number from 0");
    return value;
  }

  /** An integer of 64 bits; a negative one stands for its two's complement. */
  seed(name: string): bigint | undefined {
    const value = this.#values.get(name)?.[0];
    if (value === undefined) return undefined;
    if (typeof value === "bigint" || (typeof value === "number" && Number.isSafeInteger(value))) return BigInt.asUintN(64, BigInt(value));
    throw this.#wrong(name, value, "a whole number");
  }

  boolean(name: string): boolean | undefined {
    const value = this.#values.get(name)?.[0];
    if (value === undefined || typeof value === "boolean") return value;
    throw this.#wrong(name, value, "true or false");
  }

  #wrong(name: string, got: Value, wanted: string): Error {
    return invalidArgument(`parameters[${name}]`, `got ${typeof got === "string" ? JSON.stringify(got) : String(got)}, wanted ${wanted}`);
  }
}

function requireKnown(field: string, name: string, specs: readonly ParameterSpec[]): void {
  if (specs.some((spec) => spec.name === name)) return;
  const known = specs.map((spec) => spec.name).join(", ");
  throw invalidArgument(`${field}[${name}]`, `is not a parameter here, wanted ${known === "" ? "none" : `one of ${known}`}`);
}

function valueOf(field: string, { parameterChoice }: InferParameter): Value {
  if (parameterChoice.case === undefined) throw invalidArgument(field, "is not set, wanted a value");
  return parameterChoice.value;
}
