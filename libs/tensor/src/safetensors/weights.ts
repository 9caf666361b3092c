import { readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { InputError } from "../input-error.ts";
import type { Tensor } from "../tensor.ts";
import { duplicateKey } from "./json-keys.ts";
import { type LocatedTensor, missingTensor, openSafetensors, type ReadF32Options, type ReadOptions, type SafetensorsFile, type TensorSource } from "./reader.ts";

/** The weights of a model folder, in one file or in shards. Owns its file handles until `close`. */
export class Weights implements TensorSource {
  readonly folder: string;
  readonly tensors: ReadonlyMap<string, LocatedTensor>;
  /** Paths of the safetensors files, in the order of the index. */
  readonly files: readonly string[];
  readonly #shards: ReadonlyMap<string, SafetensorsFile>;

  constructor(folder: string, shards: ReadonlyMap<string, SafetensorsFile>, tensors: ReadonlyMap<string, LocatedTensor>) {
    this.folder = folder;
    this.#shards = shards;
    this.tensors = tensors;
    this.files = [...shards.keys()];
  }

  async read(name: string, options?: ReadOptions): Promise<Tensor> {
    return await this.#shard(name).read(name, options);
  }

  async readF32(name: string, options?: ReadF32Options): Promise<Float32Array> {
    return await this.#shard(name).readF32(name, options);
  }

  async close(): Promise<void> {
    for (const shard of this.#shards.values()) await shard.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #shard(name: string): SafetensorsFile {
    const place = this.tensors.get(name);
    const shard = place === undefined ? undefined : this.#shards.get(place.file);
    if (shard === undefined) throw missingTensor(name, this.folder, this.tensors);
    return shard;
  }
}

/**
 * Opens a model folder's weights: `{name}.safetensors`, or the shards that `{name}.safetensors.index.json` names.
 * Throws InputError when neither is there, or when index and shards disagree.
 */
export async function openWeights(folder: string, name = "model"): Promise<Weights> {
  const single = `${name}.safetensors`;
  if (await exists(join(folder, single))) {
    const file = await openSafetensors(join(folder, single));
    return new Weights(folder, new Map([[file.path, file]]), file.tensors);
  }
  const indexFile = `${single}.index.json`;
  const indexPath = join(folder, indexFile);
  if (!(await exists(indexPath))) throw new InputError("the folder holds no weights", { file: folder, field: single, wanted: `${single} or ${indexFile}` });
  const shardOf = await readIndex(indexPath);
  const shards = new Map<string, SafetensorsFile>();
  try {
    const tensors = new Map<string, LocatedTensor>();
    for (const [name, shardName] of shardOf) {
      const path = join(folder, shardName);
      let shard = shards.get(path);
      if (shard === undefined) {
        if (!(await exists(path))) throw new InputError("there is no such file, though the index names it; was the model downloaded whole?", { file: path, field: `weight_map.${name}`, got: "nothing", wanted: shardName });
        shard = await openSafetensors(path);
        shards.set(path, shard);
      }
      const place = shard.tensors.get(name);
      if (place === undefined) throw new InputError(`the index says that ${shardName} holds "${name}", and it does not`, { file: indexPath, field: `weight_map.${name}`, got: shardName, wanted: "a shard that holds it" });
      tensors.set(name, place);
    }
    return new Weights(folder, shards, tensors);
  } catch (error) {
    for (const shard of shards.values()) await shard.close();
    throw error;
  }
}

async function readIndex(path: string): Promise<[string, string][]> {
  const text = await readFile(path, "utf8");
  let index: unknown;
  try {
    index = JSON.parse(text);
  } catch (error) {
    throw new InputError(`the shard index is not JSON: ${error instanceof Error ? error.message : String(error)}`, { file: path, field: "content" }, { cause: error });
  }
  const twice = duplicateKey(text);
  if (twice !== undefined) throw new InputError(`the shard index names "${twice}" twice`, { file: path, field: twice, got: "2 entries", wanted: "1 entry" });
  const map = typeof index === "object" && index !== null && "weight_map" in index ? index.weight_map : undefined;
  if (typeof map !== "object" || map === null || Array.isArray(map)) throw new InputError("the shard index has no weight_map", { file: path, field: "weight_map", got: map ?? null, wanted: "an object of file names" });
  return Object.entries(map).map(([name, shard]) => {
    if (typeof shard !== "string" || basename(shard) !== shard || !shard.endsWith(".safetensors") || shard.includes("\0")) {
      throw new InputError("a shard is not a file name in the same folder", { file: path, field: `weight_map.${name}`, got: shard, wanted: "a .safetensors file name" });
    }
    return [name, shard];
  });
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR")) return false;
    throw error;
  }
}
