import { create } from "@bufbuild/protobuf";
import type { ModelInferRequest } from "@mistral-sae/contracts/inference/grpc_predict_v2";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { DecodeRequestSchema, EncodeRequestSchema, type Sae } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { type CallContext, internal, invalidArgument } from "@mistral-sae/rpc";
import { bytesOf, f32View, packSparse } from "@mistral-sae/tensor";
import { codecHandlers } from "../handlers/codec.ts";
import type { Parts } from "../handlers/parts.ts";
import { onArrayBuffer } from "../wire/tensor.ts";
import { codeTensors, encodeChunk, once } from "./codes.ts";
import type { TensorSpec } from "./language-metadata.ts";
import type { SaeSide } from "./names.ts";
import type { OutputTensor } from "./outputs.ts";
import { Parameters, type ParameterSpec } from "./parameters.ts";
import { floatsOf, type InputTensor, integersOf, readInputs } from "./tensors.ts";

const ENCODE_PARAMETERS: readonly ParameterSpec[] = [{ name: "top_features", datatype: "INT32", shape: [1] }];

/** Tensors of an SAE as a model of its own: residuals [N, d_in] to codes [N, K] or back. */
export function saeTensors({ dIn }: Sae, side: SaeSide): { readonly inputs: readonly TensorSpec[]; readonly outputs: readonly TensorSpec[] } {
  const residual = [{ name: "residual", datatype: "FP32", shape: [-1, dIn] }];
  const codes = [
    { name: "feature_indices", datatype: "UINT32", shape: [-1, -1] },
    { name: "feature_acts", datatype: "FP32", shape: [-1, -1] },
  ];
  if (side === "decode") return { inputs: codes, outputs: residual };
  return { inputs: [...residual, ...ENCODE_PARAMETERS.map(({ name, datatype, shape }) => ({ name, datatype, shape }))], outputs: codes };
}

/** Runs an SAE. */
export async function inferSae(request: ModelInferRequest, sae: Sae, side: SaeSide, parts: Parts, context: CallContext): Promise<OutputTensor[]> {
  const inputs = readInputs(request);
  const specs = saeTensors(sae, side);
  for (const name of inputs.keys()) {
    if (!specs.inputs.some((spec) => spec.name === name)) throw invalidArgument(`inputs[${JSON.stringify(name)}]`, `is not an input of this model, wanted ${specs.inputs.map((spec) => spec.name).join(", ")}`);
  }
  const parameters = Parameters.read(request, inputs, side === "encode" ? ENCODE_PARAMETERS : []);
  const names = request.outputs.length === 0 ? specs.outputs.map(({ name }) => name) : request.outputs.map(({ name }) => name);
  for (const { name, parameters: own } of request.outputs) {
    parameters.with(name, own, []);
    if (!specs.outputs.some((spec) => spec.name === name)) throw invalidArgument(`outputs[${JSON.stringify(name)}]`, `is not an output of this model, wanted ${specs.outputs.map((spec) => spec.name).join(", ")}`);
  }
  const results = side === "encode" ? await encode(inputs, parameters, sae, parts, context) : await decode(inputs, sae, parts, context);
  return names.map((name) => results.find((result) => result.name === name) as OutputTensor);
}

function required(inputs: ReadonlyMap<string, InputTensor>, name: string): InputTensor {
  const tensor = inputs.get(name);
  if (tensor === undefined) throw invalidArgument(`inputs["${name}"]`, "is not given");
  return tensor;
}

async function encode(inputs: ReadonlyMap<string, InputTensor>, parameters: Parameters, sae: Sae, parts: Parts, context: CallContext): Promise<OutputTensor[]> {
  const tensor = required(inputs, "residual");
  const [n = 0, width] = tensor.shape;
  if (tensor.shape.length !== 2 || width !== sae.dIn) throw invalidArgument('inputs["residual"].shape', `got [${tensor.shape.join(", ")}], wanted [N, ${sae.dIn}]`, "TENSOR_SIZE_MISMATCH");
  const input = create(EncodeRequestSchema, {
    sae: sae.name,
    input: { case: "residual", value: { dtype: DataType.F32, shape: [n, width], data: onArrayBuffer(bytesOf(floatsOf(tensor))) } },
    activationDtype: DataType.F32,
    maxFeaturesPerToken: parameters.count("top_features") ?? 0,
  });
  const rows = await encodeChunk(input, parts, context);
  return codeTensors(rows, Array.from({ length: n }, (_, row) => ({ row, place: row })), [n]);
}

async function decode(inputs: ReadonlyMap<string, InputTensor>, sae: Sae, parts: Parts, context: CallContext): Promise<OutputTensor[]> {
  const [indexTensor, actTensor] = [required(inputs, "feature_indices"), required(inputs, "feature_acts")];
  const [n = 0, k = 0] = actTensor.shape;
  for (const { name, shape } of [indexTensor, actTensor]) {
    if (shape.length !== 2 || shape[0] !== n || shape[1] !== k) throw invalidArgument(`inputs["${name}"].shape`, `got [${shape.join(", ")}], wanted [N, K], the same for both inputs`, "TENSOR_SIZE_MISMATCH");
  }
  const indices = integersOf(indexTensor);
  const bad = indices.findIndex((index) => index < 0 || index >= sae.dSae);
  if (bad >= 0) throw invalidArgument(`inputs["feature_indices"]`, `got ${indices[bad]} at element ${bad}, wanted 0 to ${sae.dSae - 1}`, "FEATURE_OUT_OF_RANGE");
  // Pairs without an activation are padding.
  const acts = floatsOf(actTensor);
  const kept = Array.from(acts.keys()).filter((i) => acts[i] !== 0);
  const rowOffsets = new Uint32Array(n + 1);
  for (const i of kept) rowOffsets[Math.floor(i / k) + 1]! += 1;
  for (let row = 0; row < n; row++) rowOffsets[row + 1]! += rowOffsets[row]!;
  const code = packSparse({ nTokens: n, k, dSae: sae.dSae, indices: Uint32Array.from(kept, (i) => indices[i] ?? 0), values: Float32Array.from(kept, (i) => acts[i] ?? 0), rowOffsets });
  const input = create(DecodeRequestSchema, { sae: sae.name, code: codeFields(code) });
  for await (const { residual } of codecHandlers(parts).decode(once(input), context)) {
    return [{ name: "residual", shape: [n, sae.dIn], values: f32View(residual?.data ?? new Uint8Array()) }];
  }
  throw internal("NO_ANSWER", "the SAE answered nothing");
}

function codeFields({ featureIndices, activations, rowOffsets, ...rest }: ReturnType<typeof packSparse>) {
  return {
    ...rest,
    featureIndices: onArrayBuffer(featureIndices),
    activations: onArrayBuffer(activations),
    ...(rowOffsets === undefined ? {} : { rowOffsets: onArrayBuffer(rowOffsets) }),
  };
}
