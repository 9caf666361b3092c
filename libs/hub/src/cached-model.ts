import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { cachePlaces, isCommit, type HubModel } from "./repository.ts";
import type { HubSettings } from "./settings.ts";

/** The folder of a model that is in the cache whole; undefined when it is not. Nothing is sent. */
export async function findCached(model: HubModel, { cacheDir }: HubSettings): Promise<string | undefined> {
  const places = cachePlaces(cacheDir, model);
  const sha = isCommit(model.revision) ? model.revision : (await readFile(places.ref, "utf8").catch(() => "")).trim();
  if (!isCommit(sha)) return undefined;
  const folder = places.snapshot(sha);
  return (await isWhole(folder)) ? folder : undefined;
}

/** Whether a snapshot has a configuration and all of its weights: a download that was cut off has not. */
async function isWhole(folder: string): Promise<boolean> {
  const has = async (name: string): Promise<boolean> =>
    await stat(join(folder, name)).then(
      (found) => found.isFile(),
      () => false,
    );
  for (const [config, weights] of [["config.json", "model"], ["config.json", "consolidated"], ["params.json", "consolidated"]] as const) {
    if (!(await has(config))) continue;
    if (await has(`${weights}.safetensors`)) return true;
    const shards = await shardsOf(join(folder, `${weights}.safetensors.index.json`));
    if (shards.length > 0 && (await Promise.all(shards.map(has))).every(Boolean)) return true;
  }
  return false;
}

async function shardsOf(index: string): Promise<readonly string[]> {
  try {
    const { weight_map: map } = JSON.parse(await readFile(index, "utf8")) as { readonly weight_map?: Readonly<Record<string, unknown>> };
    return [...new Set(Object.values(map ?? {}).map(String))];
  } catch {
    return [];
  }
}
