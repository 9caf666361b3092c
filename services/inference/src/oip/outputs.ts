import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ModelInferResponseSchema } from "@mistral-sae/contracts/inference/grpc_predict_v2";
import { invalidArgument } from "@mistral-sae/rpc";
import { bytesOf } from "@mistral-sae/tensor";
import { onArrayBuffer } from "../wire/tensor.ts";

/** An output tensor: the array's type is its datatype, texts are BYTES. */
export interface OutputTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array | Int32Array | Uint32Array | BigInt64Array | readonly string[];
}

/** Most bytes of one answer: it has to be one message. */
export const MOST_OUTPUT_BYTES = 64 << 20;

/** @throws INVALID_ARGUMENT TOKEN_LIMIT for an output that no answer could carry. */
export function requireFits(output: string, elements: number, advice: string): void {
  if (elements * 4 > MOST_OUTPUT_BYTES) {
    throw invalidArgument(`outputs[${JSON.stringify(output)}]`, `would hold ${elements} elements, wanted at most ${MOST_OUTPUT_BYTES / 4} in one answer; ${advice}`, "TOKEN_LIMIT");
  }
}

type Fields = Pick<Exclude<MessageInitShape<typeof ModelInferResponseSchema>, { $typeName: string }>, "outputs" | "rawOutputContents">;

/** The outputs as fields of the answer, raw or typed as the request was. */
export function writeOutputs(outputs: readonly OutputTensor[], raw: boolean): Fields {
  const heads = outputs.map(({ name, shape, values }) => ({ name, datatype: datatypeOf(values), shape: shape.map(BigInt) }));
  if (raw) return { outputs: heads, rawOutputContents: outputs.map(({ values }) => rawBytes(values)) };
  return { outputs: heads.map((head, i) => ({ ...head, contents: typedContents((outputs[i] as OutputTensor).values) })) };
}

function datatypeOf(values: OutputTensor["values"]): string {
  if (values instanceof Float32Array) return "FP32";
  if (values instanceof Int32Array) return "INT32";
  if (values instanceof Uint32Array) return "UINT32";
  return values instanceof BigInt64Array ? "INT64" : "BYTES";
}

function rawBytes(values: OutputTensor["values"]): Uint8Array<ArrayBuffer> {
  if (ArrayBuffer.isView(values)) return onArrayBuffer(bytesOf(values));
  const texts = values.map((text) => Buffer.from(text, "utf8"));
  const bytes = new Uint8Array(texts.reduce((sum, text) => sum + 4 + text.length, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const text of texts) {
    view.setUint32(at, text.length, true);
    bytes.set(text, at + 4);
    at += 4 + text.length;
  }
  return bytes;
}

function typedContents(values: OutputTensor["values"]) {
  if (values instanceof Float32Array) return { fp32Contents: Array.from(values) };
  if (values instanceof Int32Array) return { intContents: Array.from(values) };
  if (values instanceof Uint32Array) return { uintContents: Array.from(values) };
  if (values instanceof BigInt64Array) return { int64Contents: Array.from(values) };
  return { bytesContents: values.map((text) => new Uint8Array(Buffer.from(text, "utf8"))) };
}
