import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { InputError, openSafetensors, type SafetensorsFile, type Tensor } from "@mistral-sae/tensor";
import { parsePeerJson } from "../import/peer-row.ts";

/** A file of a cache, its header checked. */
export interface CacheFile {
  readonly path: string;
  /** First of its latents and the one after its last. */
  readonly start: number;
  readonly end: number;
  /** Activations. */
  readonly n: number;
}

/** A cache of one module. */
export interface LatentCache {
  readonly folder: string;
  /** By latents; together they hold all of them. */
  readonly files: readonly CacheFile[];
  /** Windows and tokens of each. */
  readonly nSequences: number;
  readonly contextSize: number;
  readonly dataset: string;
  /** Stands behind the last token of a short window; undefined where the configuration names none. */
  readonly paddingToken: number | undefined;
}

const SPLIT = /^(\d+)_(\d+)\.safetensors$/;
const INTEGERS = ["U16", "U32", "I32", "I64", "U64", "I16"];

/** Opens a cache: its configuration and the headers of its files. @throws InputError naming file and field. */
export async function readCache(uri: string, module: string, dSae: number): Promise<LatentCache> {
  const folder = await cacheFolder(uri, module);
  const config = await readConfig(folder);
  const found = (await readdir(folder)).map((name) => ({ name, bounds: SPLIT.exec(name)?.slice(1).map(Number) })).filter(({ bounds }) => bounds !== undefined);
  const splits = found.map(({ name, bounds: [start = 0, last = 0] = [] }) => ({ path: join(folder, name), start, end: last + 1 })).sort((a, b) => a.start - b.start);
  let next = 0;
  for (const { path, start, end } of splits) {
    if (start !== next || end <= start || end > dSae) throw new InputError(`${folder}: the files do not follow one another`, { file: path, field: "bounds", got: `latents ${start} to ${end - 1}`, wanted: `from ${next}, below ${dSae}` });
    next = end;
  }
  if (next !== dSae) throw new InputError(`${folder}: files of latents from ${next} are missing`, { file: folder, field: "bounds", got: `${next} latents in ${splits.length} files`, wanted: `${dSae}, as the SAE has` });
  const files: CacheFile[] = [];
  let shape: readonly number[] | undefined;
  for (const split of splits) {
    await using file = await openSafetensors(split.path);
    const n = await activationsOf(file);
    const tokens = file.tensors.get("tokens");
    if (tokens === undefined) throw new InputError(`${split.path} has no tokens: they say where the activations are`, { file: split.path, field: "tokens", got: "no such tensor", wanted: "[windows, context]; write the cache with its tokens" });
    requireInteger(split.path, "tokens", tokens);
    if (tokens.shape.length !== 2 || (shape !== undefined && String(shape) !== String(tokens.shape))) throw new InputError(`${split.path}: tokens are of another shape`, { file: split.path, field: "tokens", got: `[${tokens.shape.join(", ")}]`, wanted: shape === undefined ? "[windows, context]" : `[${shape.join(", ")}], as in the file before` });
    shape = tokens.shape;
    files.push({ ...split, n });
  }
  const [nSequences = 0, contextSize = 0] = shape ?? [];
  const context = config["cache_ctx_len"] ?? config["ctx_len"];
  if (context !== undefined && context !== contextSize) throw new InputError(`${folder}: configuration and tokens differ`, { file: join(folder, "config.json"), field: "cache_ctx_len", got: context, wanted: `${contextSize}, as the tokens have` });
  const splitsWanted = config["n_splits"];
  if (splitsWanted !== undefined && splitsWanted !== files.length) throw new InputError(`${folder} has ${files.length} files`, { file: join(folder, "config.json"), field: "n_splits", got: `${JSON.stringify(splitsWanted)} in the configuration`, wanted: `${files.length} files` });
  const padding = config["padding_token_id"];
  return { folder, files, nSequences, contextSize, dataset: typeof config["dataset_repo"] === "string" ? config["dataset_repo"] : "", paddingToken: typeof padding === "number" ? padding : undefined };
}

async function activationsOf(file: SafetensorsFile): Promise<number> {
  const locations = file.tensors.get("locations");
  const activations = file.tensors.get("activations");
  if (locations === undefined || activations === undefined) throw new InputError(`${file.path} is no latent cache`, { file: file.path, field: locations === undefined ? "locations" : "activations", got: "no such tensor", wanted: "locations and activations" });
  requireInteger(file.path, "locations", locations);
  const [n = 0] = activations.shape;
  if (activations.shape.length !== 1 || locations.shape.length !== 2 || locations.shape[0] !== n || locations.shape[1] !== 3) {
    throw new InputError(`${file.path}: locations and activations do not go together`, { file: file.path, field: "locations", got: `[${locations.shape.join(", ")}] for activations [${activations.shape.join(", ")}]`, wanted: `[${n}, 3]` });
  }
  return n;
}

function requireInteger(file: string, field: string, { dtype }: Pick<Tensor, "dtype">): void {
  if (!INTEGERS.includes(dtype)) throw new InputError(`${file}: ${field} are no whole numbers`, { file, field, got: dtype, wanted: INTEGERS.join(", ") });
}

async function cacheFolder(uri: string, module: string): Promise<string> {
  const holdsSplits = async (folder: string) => (await readdir(folder).catch(() => [])).some((name) => SPLIT.test(name));
  for (const folder of [join(uri, module), uri]) if (await holdsSplits(folder)) return folder;
  const there = await readdir(uri).catch(() => undefined);
  throw new InputError(`${uri} holds no cache of ${module}`, { file: uri, field: "uri", got: there === undefined ? "no folder" : there.slice(0, 8).join(", "), wanted: `${module}/{first}_{last}.safetensors` });
}

async function readConfig(folder: string): Promise<Readonly<Record<string, unknown>>> {
  const path = join(folder, "config.json");
  const text = await readFile(path, "utf8").catch(() => undefined);
  if (text === undefined) throw new InputError(`${folder} has no configuration`, { file: path, field: "file", got: "no such file", wanted: "config.json" });
  const value = parsePeerJson(text, { file: path, at: "the file" });
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new InputError(`${path} is no configuration`, { file: path, field: "file", got: typeof value, wanted: "an object" });
  return value as Readonly<Record<string, unknown>>;
}

/** Whole numbers of a tensor of any width, each below 2^32. @throws InputError for others. */
export function wholeNumbers({ dtype, data }: Tensor, file: string, field: string): Uint16Array | Uint32Array {
  const { buffer, byteOffset, byteLength } = data;
  if (dtype === "U16") return new Uint16Array(buffer, byteOffset, byteLength / 2);
  if (dtype === "U32") return new Uint32Array(buffer, byteOffset, byteLength / 4);
  const wide = dtype === "I32" ? new Int32Array(buffer, byteOffset, byteLength / 4) : dtype === "I16" ? new Int16Array(buffer, byteOffset, byteLength / 2) : undefined;
  const long = wide === undefined ? new BigInt64Array(buffer, byteOffset, byteLength / 8) : undefined;
  const source = wide ?? (long as BigInt64Array);
  const numbers = new Uint32Array(source.length);
  for (let i = 0; i < numbers.length; i++) {
    const value = Number(source[i]);
    if (value < 0 || value > 0xffffffff) throw new InputError(`${file}: ${field}[${i}] is out of range`, { file, field: `${field}[${i}]`, got: value, wanted: "0 to 2^32 - 1" });
    numbers[i] = value;
  }
  return numbers;
}
