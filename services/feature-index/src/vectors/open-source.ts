import type { EmbeddingsConfig } from "./embeddings-config.ts";
import { EndpointSource } from "./endpoint-source.ts";
import { FolderSource } from "./folder-source.ts";
import type { VectorSource } from "./vector-source.ts";

/** The configured source; undefined for our own vectors. @throws InputError when a folder cannot be used. */
export async function openSource(config: EmbeddingsConfig, threads: number): Promise<VectorSource | undefined> {
  if (config.kind === "endpoint") return new EndpointSource(config);
  return config.kind === "folder" ? await FolderSource.open(config.folder, threads) : undefined;
}
