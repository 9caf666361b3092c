import { readdir, readFile, stat } from "node:fs/promises";
import { join, relative } from "node:path";
import { InputError } from "@mistral-sae/tensor";
import { parsePeerJson } from "./peer-row.ts";
import type { PeerFile } from "./peer-file.ts";
import type { PlainRow } from "./feature-columns.ts";

/** The files of a dashboard and what stands beside them. */
export interface DashboardFolder {
  readonly files: readonly (PeerFile & { readonly bytes: number })[];
  readonly metadata: readonly PlainRow[];
}

/** Metadata are some lines; more is a file of another kind. */
const LONGEST_METADATA = 64 << 20;
const KINDS = { features: "feature", activations: "activation", explanations: "explanation" } as const;
const METADATA = ["release.jsonl", "model.jsonl", "sourceset.jsonl", "source.jsonl"];
const BATCH = /^batch-(\d+)\.(jsonl\.gz|jsonl)$/;
const DASHBOARD_BATCH = /^batch-(\d+)\.json$/;

/** A folder of Neuronpedia's batches: one source, or the folder above that has just one. @throws InputError. */
export async function neuronpediaFolder(uri: string): Promise<DashboardFolder> {
  const folder = await sourceFolder(uri, 2);
  const files: (PeerFile & { bytes: number })[] = [];
  const batches: Record<string, number[]> = {};
  for (const [name, kind] of Object.entries(KINDS)) {
    const found = (await names(join(folder, name))).map((file) => ({ file, batch: BATCH.exec(file)?.[1] })).filter(({ batch }) => batch !== undefined);
    batches[name] = found.map(({ batch }) => Number(batch)).sort((a, b) => a - b);
    for (const { file } of found.sort((a, b) => Number(a.batch) - Number(b.batch))) files.push(await sized({ path: join(folder, name, file), kind }));
  }
  const { features = [], activations = [] } = batches;
  if (features.length === 0) throw new InputError(`${folder} has no batch of features`, { file: folder, field: "features", got: "no batch-N.jsonl.gz", wanted: "features/batch-0.jsonl.gz" });
  const gap = features.findIndex((batch, i) => i > 0 && batch !== (features[i - 1] as number) + 1);
  if (gap > 0) throw new InputError(`${folder} lacks batches of features between ${features[gap - 1] ?? 0} and ${features[gap] ?? 0}`, { file: folder, field: "features", got: `batch-${features[gap] ?? 0}`, wanted: `batch-${(features[gap - 1] ?? 0) + 1}` });
  const twice = features.find((batch, i) => batch === features[i - 1]);
  if (twice !== undefined) throw new InputError(`${folder} has batch ${twice} both packed and plain`, { file: folder, field: "features", got: `batch-${twice} twice`, wanted: "one file a batch" });
  const alone = activations.find((batch) => !features.includes(batch));
  if (alone !== undefined) throw new InputError(`${folder} has activations/batch-${alone} and no features/batch-${alone}`, { file: folder, field: `features/batch-${alone}.jsonl.gz`, got: "no such file", wanted: "a batch of features for each of activations" });
  const metadata: PlainRow[] = [];
  for (const file of METADATA) for (const row of await jsonLines(join(folder, file))) metadata.push({ feature: 0, file, row });
  for (const file of (await names(join(uri, "config"))).filter((name) => name.endsWith(".jsonl"))) for (const row of await jsonLines(join(uri, "config", file))) metadata.push({ feature: 0, file: `config/${file}`, row });
  return { files, metadata };
}

/** A folder of SAEDashboard's batches. @throws InputError. */
export async function dashboardFolder(uri: string): Promise<DashboardFolder> {
  const found = (await names(uri)).map((file) => ({ file, batch: DASHBOARD_BATCH.exec(file)?.[1] })).filter(({ batch }) => batch !== undefined);
  if (found.length === 0) throw new InputError(`${uri} has no batch`, { file: uri, field: "batch", got: "no batch-N.json", wanted: "batch-0.json" });
  const files = await Promise.all(found.sort((a, b) => Number(a.batch) - Number(b.batch)).map(async ({ file }) => await sized({ path: join(uri, file), kind: "batch" })));
  const metadata: PlainRow[] = [];
  for (const file of ["run_settings.json", "skipped_indexes.json"]) {
    const text = await textOf(join(uri, file));
    if (text !== undefined) metadata.push({ feature: 0, file, row: parsePeerJson(text, { file: join(uri, file), at: "the file" }) as Record<string, unknown> });
  }
  return { files, metadata };
}

/** The folder with `features` in it, at most `depth` levels down; the only one. */
async function sourceFolder(uri: string, depth: number): Promise<string> {
  const found: string[] = [];
  const look = async (folder: string, left: number) => {
    const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
      throw new InputError(`${folder} cannot be read`, { file: folder, field: "uri", got: error instanceof Error ? error.message : "an error", wanted: "a folder" });
    });
    if (entries.some((entry) => entry.isDirectory() && entry.name === "features")) found.push(folder);
    else if (left > 0) for (const entry of entries) if (entry.isDirectory()) await look(join(folder, entry.name), left - 1);
  };
  await look(uri, depth);
  const [only] = found;
  if (only === undefined) throw new InputError(`${uri} holds no Neuronpedia export`, { file: uri, field: "uri", got: "no folder features", wanted: "{modelId}/{sourceId}/features/batch-0.jsonl.gz" });
  if (found.length > 1) throw new InputError(`${uri} holds several sources; name the folder of one`, { file: uri, field: "uri", got: found.map((folder) => relative(uri, folder)).join(", "), wanted: "one source" });
  return only;
}

async function sized<File extends PeerFile>(file: File): Promise<File & { readonly bytes: number }> {
  const { size } = await stat(file.path);
  if (size === 0) throw new InputError(`${file.path} is empty`, { file: file.path, field: "file", got: "0 bytes", wanted: "a whole file" });
  return { ...file, bytes: size };
}

async function names(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw new InputError(`${folder} cannot be read`, { file: folder, field: "uri", got: error instanceof Error ? error.message : "an error", wanted: "a folder" });
  }
}

async function textOf(path: string): Promise<string | undefined> {
  const size = (await stat(path).catch(() => undefined))?.size;
  if (size === undefined) return undefined;
  if (size > LONGEST_METADATA) throw new InputError(`${path} is too long for what it should be`, { file: path, field: "file", got: `${size} bytes`, wanted: `at most ${LONGEST_METADATA}` });
  return await readFile(path, "utf8");
}

async function jsonLines(path: string): Promise<readonly Record<string, unknown>[]> {
  const lines = (await textOf(path))?.split("\n") ?? [];
  return lines.map((line, i) => ({ line, at: `line ${i + 1}` })).filter(({ line }) => line !== "").map(({ line, at }) => parsePeerJson(line, { file: path, at }) as Record<string, unknown>);
}
