import type { MessageInitShape } from "@bufbuild/protobuf";
import type { InferParameterSchema, ModelInferRequestSchema, ModelInferResponse } from "@mistral-sae/contracts/inference/grpc_predict_v2";
import type { TestService } from "./service.ts";

/** A tensor as a client of the protocol holds it. */
export interface ClientTensor {
  readonly shape: readonly number[];
  readonly values: ArrayLike<number | bigint | string>;
}

type Typed = Float32Array | Int32Array | Uint32Array | BigInt64Array | readonly string[] | readonly boolean[];

interface Call {
  readonly model?: string;
  readonly inputs: Readonly<Record<string, readonly [readonly number[], Typed]>>;
  readonly outputs?: readonly (string | { readonly name: string; readonly parameters: Readonly<Record<string, string | number>> })[];
  readonly parameters?: Readonly<Record<string, string | number | bigint | boolean>>;
  /** How tensors travel; default raw. */
  readonly typed?: boolean;
}

/** Calls ModelInfer as a stock client does and reads its outputs by name. */
export async function infer(service: TestService, { model = "demo", inputs, outputs = [], parameters = {}, typed = false }: Call): Promise<Readonly<Record<string, ClientTensor>>> {
  const tensors = Object.entries(inputs).map(([name, [shape, values]]) => ({ name, datatype: datatypeOf(values), shape: shape.map(BigInt), values }));
  const request: MessageInitShape<typeof ModelInferRequestSchema> = {
    modelName: model,
    id: "call-1",
    parameters: parametersOf(parameters),
    inputs: tensors.map(({ values, ...head }) => (typed ? { ...head, contents: contentsOf(values) } : head)),
    outputs: outputs.map((output) => (typeof output === "string" ? { name: output } : { name: output.name, parameters: parametersOf(output.parameters) })),
    rawInputContents: typed ? [] : tensors.map(({ values }) => rawOf(values)),
  };
  return read(await service.openInference.modelInfer(request));
}

function datatypeOf(values: Typed): string {
  if (values instanceof Float32Array) return "FP32";
  if (values instanceof Int32Array) return "INT32";
  if (values instanceof Uint32Array) return "UINT32";
  if (values instanceof BigInt64Array) return "INT64";
  return typeof values[0] === "boolean" ? "BOOL" : "BYTES";
}

function parametersOf(values: Readonly<Record<string, string | number | bigint | boolean>>): Record<string, Exclude<MessageInitShape<typeof InferParameterSchema>, { $typeName: string }>> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => {
      if (typeof value === "string") return [name, { parameterChoice: { case: "stringParam" as const, value } }];
      if (typeof value === "boolean") return [name, { parameterChoice: { case: "boolParam" as const, value } }];
      if (typeof value === "number" && !Number.isInteger(value)) return [name, { parameterChoice: { case: "doubleParam" as const, value } }];
      return [name, { parameterChoice: { case: "int64Param" as const, value: BigInt(value) } }];
    }),
  );
}

function rawOf(values: Typed): Uint8Array<ArrayBuffer> {
  if (ArrayBuffer.isView(values)) return new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength);
  if (typeof values[0] === "boolean") return Uint8Array.from(values as readonly boolean[], Number);
  const parts = (values as readonly string[]).flatMap((text) => {
    const bytes = Buffer.from(text, "utf8");
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    return [length, bytes];
  });
  return new Uint8Array(Buffer.concat(parts));
}

function contentsOf(values: Typed) {
  if (values instanceof Float32Array) return { fp32Contents: [...values] };
  if (values instanceof Int32Array) return { intContents: [...values] };
  if (values instanceof Uint32Array) return { uintContents: [...values] };
  if (values instanceof BigInt64Array) return { int64Contents: [...values] };
  if (typeof values[0] === "boolean") return { boolContents: [...(values as readonly boolean[])] };
  return { bytesContents: (values as readonly string[]).map((text) => new Uint8Array(Buffer.from(text, "utf8"))) };
}

function read({ outputs, rawOutputContents }: ModelInferResponse): Readonly<Record<string, ClientTensor>> {
  return Object.fromEntries(
    outputs.map(({ name, datatype, shape, contents }, i) => {
      const raw = rawOutputContents[i]?.slice();
      const values = raw === undefined ? typedList(datatype, contents) : rawList(datatype, raw);
      return [name, { shape: shape.map(Number), values }];
    }),
  );
}

function rawList(datatype: string, bytes: Uint8Array): ClientTensor["values"] {
  if (datatype === "FP32") return new Float32Array(bytes.buffer);
  if (datatype === "INT32") return new Int32Array(bytes.buffer);
  if (datatype === "UINT32") return new Uint32Array(bytes.buffer);
  if (datatype === "INT64") return new BigInt64Array(bytes.buffer);
  const view = Buffer.from(bytes.buffer);
  const texts: string[] = [];
  for (let at = 0; at < view.length; at += 4 + view.readUInt32LE(at)) texts.push(view.toString("utf8", at + 4, at + 4 + view.readUInt32LE(at)));
  return texts;
}

function typedList(datatype: string, contents: ModelInferResponse["outputs"][number]["contents"]): ClientTensor["values"] {
  if (datatype === "FP32") return contents?.fp32Contents ?? [];
  if (datatype === "INT32") return contents?.intContents ?? [];
  if (datatype === "UINT32") return contents?.uintContents ?? [];
  if (datatype === "INT64") return contents?.int64Contents ?? [];
  return (contents?.bytesContents ?? []).map((bytes) => Buffer.from(bytes).toString("utf8"));
}
