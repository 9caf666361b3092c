import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { byteLength, SafetensorsWriter, type PlannedTensor } from "@mistral-sae/tensor";
import { RandomWeights } from "./random-weights.ts";
import { configJson, type ModelShape, tensorShapes } from "./shapes.ts";
import { tokenizerConfigJson, tokenizerJson } from "./tokenizer-file.ts";

export interface MakeModelOptions {
  /** Element type of the weights; default F32. */
  readonly dtype?: "F32" | "BF16";
  /** Same seed, same files; default 0. */
  readonly seed?: number;
  /** Bytes of one file at most (a larger tensor has one for itself); default 4 GiB. */
  readonly shardBytes?: number;
}

/**
 * Writes a model folder with random weights in the Hugging Face layout: config, weights in one file or in shards with
 * their index, and a tokenizer of bytes. Weights are N(0, 0.02), norms N(1, 0.1); a few MiB are in memory at a time.
 */
export async function makeModel(folder: string, shape: ModelShape, { dtype = "F32", seed = 0, shardBytes = 4 * 2 ** 30 }: MakeModelOptions = {}): Promise<void> {
  await mkdir(folder, { recursive: true });
  const weights = new RandomWeights(dtype, seed);
  const shards = shardsOf(shape, dtype, shardBytes);
  const weightMap: Record<string, string> = {};
  let totalSize = 0;
  for (const [i, tensors] of shards.entries()) {
    const file = shards.length === 1 ? "model.safetensors" : `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
    await using writer = await SafetensorsWriter.create(join(folder, file), tensors, { format: "pt" });
    for (const [name, { shape: sizes }] of Object.entries(tensors)) {
      weightMap[name] = file;
      totalSize += byteLength(dtype, sizes);
      const norm = sizes.length === 1;
      const count = sizes.reduce((product, size) => product * size, 1);
      for (const piece of weights.pieces(count, norm ? 1 : 0, norm ? 0.1 : 0.02)) await writer.append(name, piece);
    }
    await writer.commit();
  }
  const json = (name: string, value: object): Promise<void> => writeFile(join(folder, name), JSON.stringify(value, undefined, 2));
  if (shards.length > 1) await json("model.safetensors.index.json", { metadata: { total_size: totalSize }, weight_map: weightMap });
  await json("tokenizer.json", tokenizerJson(shape.dVocab));
  await json("tokenizer_config.json", tokenizerConfigJson());
  await json("generation_config.json", { bos_token_id: 1, eos_token_id: 2 });
  await json("config.json", configJson(shape, dtype));
}

function shardsOf(shape: ModelShape, dtype: "F32" | "BF16", shardBytes: number): Record<string, PlannedTensor>[] {
  const shards: Record<string, PlannedTensor>[] = [{}];
  let bytes = 0;
  for (const [name, sizes] of tensorShapes(shape)) {
    const size = byteLength(dtype, sizes);
    if (bytes > 0 && bytes + size > shardBytes) {
      shards.push({});
      bytes = 0;
    }
    shards.at(-1)![name] = { dtype, shape: sizes };
    bytes += size;
  }
  return shards;
}

function number(value: number): string {
  return String(value).padStart(5, "0");
}
