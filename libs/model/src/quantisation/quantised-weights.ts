import { realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { InputError, missingTensor, openSafetensors, type DType, type LocatedTensor, type SafetensorsFile } from "@mistral-sae/tensor";
import type { ModelConfig } from "../config/model-config.ts";
import { weightNames, type Weight, type WeightTable } from "../graph/weight-table.ts";
import type { OnnxDataType } from "../onnx/data-type.ts";
import { blocksOfRow, type QuantisedBits } from "./blocks.ts";
import { weightsFile, type Quantisation } from "./format.ts";
import { floatWeightNames, moduleNames, quantisedModules } from "./modules.ts";

/** W [n, k] in blocks along its rows: what MatMulNBits reads, zero points left implicit (8 or 128). */
export interface QuantisedWeight {
  readonly bits: QuantisedBits;
  readonly blockSize: number;
  readonly n: number;
  readonly k: number;
  /** uint8 [n, blocks, blockSize · bits / 8] */
  readonly qweight: Weight;
  /** float32 [n · blocks] */
  readonly scales: Weight;
}

const floatTypes: Readonly<Record<string, OnnxDataType>> = { F32: "float32", F16: "float16", BF16: "bfloat16" };

/**
 * The weights of a folder that we have quantised, checked against its configuration; no values are read.
 * Throws InputError for a missing tensor, a wrong type or a wrong shape.
 */
export async function readQuantisedTable(modelDir: string, config: ModelConfig, quantisation: Quantisation): Promise<WeightTable> {
  const file = join(modelDir, weightsFile);
  await using weights = await openSafetensors(file);
  const real = await realpath(file);
  const place = (tensor: LocatedTensor, type: OnnxDataType, shape: readonly number[]): Weight => ({ name: tensor.name, type, shape, at: { file: basename(real), offset: tensor.offset, length: tensor.length } });
  const floats = new Map<string, Weight>();
  const types = new Set<string>();
  let parameters = 0;
  for (const name of floatWeightNames(config)) {
    const shape = name === weightNames.embedding ? [config.dVocab, config.dModel] : [config.dModel];
    const tensor = found(weights, name, Object.keys(floatTypes), shape);
    floats.set(name, place(tensor, floatTypes[tensor.dtype] ?? "float32", shape));
    types.add(tensor.dtype);
    parameters += product(shape);
  }
  const { blockSize } = quantisation;
  const quantised = new Map<string, QuantisedWeight>();
  for (const { name, n, k } of quantisedModules(config)) {
    const bits = quantisation.moduleBits.get(name) ?? quantisation.bits;
    const blocks = blocksOfRow(k, blockSize);
    const values = [n, blocks, blockSize * (bits / 8)];
    const scales = [n * blocks];
    quantised.set(name, {
      bits,
      blockSize,
      n,
      k,
      qweight: place(found(weights, `${name}.qweight`, ["U8"], values), "uint8", values),
      scales: place(found(weights, `${name}.scales`, ["F32"], scales), "float32", scales),
    });
    types.add(`INT${bits}`);
    if (name !== moduleNames.head || !config.tiedEmbeddings) parameters += n * k;
  }
  return {
    folder: dirname(real),
    files: [file],
    storedDtypes: [...types].sort(),
    parameters,
    tiedEmbeddings: config.tiedEmbeddings,
    precision: quantisation.precision,
    digests: new Map([[file, quantisation.weightsDigest]]),
    get(name) {
      const weight = floats.get(name);
      if (weight === undefined) throw new Error(`weight ${name} is not in the table of a quantised model`);
      return weight;
    },
    quantised(module) {
      const weight = quantised.get(module);
      if (weight === undefined) throw new Error(`module ${module} is not in the table of a quantised model`);
      return weight;
    },
  };
}

function found(weights: SafetensorsFile, name: string, dtypes: readonly string[], shape: readonly number[]): LocatedTensor {
  const tensor = weights.tensors.get(name);
  if (tensor === undefined) throw missingTensor(name, weights.path, weights.tensors);
  const dtype: DType = tensor.dtype;
  if (!dtypes.includes(dtype)) throw new InputError(`tensor "${name}" has another type than config.json says`, { file: tensor.file, field: `${name}.dtype`, got: dtype, wanted: dtypes.join(", ") });
  if (tensor.shape.length !== shape.length || tensor.shape.some((size, i) => size !== shape[i])) {
    throw new InputError(`tensor "${name}" has the wrong shape for config.json`, { file: tensor.file, field: name, got: `[${tensor.shape.join(", ")}]`, wanted: `[${shape.join(", ")}]` });
  }
  return tensor;
}

function product(shape: readonly number[]): number {
  return shape.reduce((total, size) => total * size, 1);
}
