import { availableParallelism } from "node:os";
import { type AnalystLimits, analystDefaults, type Login } from "@mistral-sae/clickhouse";
import { InputError } from "@mistral-sae/tensor";
import { type EmbeddingsConfig, readEmbeddingsConfig } from "./vectors/embeddings-config.ts";

/** Settings of the feature-index service. */
export interface FeatureIndexConfig {
  /** host:port; port 0 takes a free one. */
  readonly listen: string;
  /** Folder that this service owns. */
  readonly data: string;
  /** host:port of the inference service. */
  readonly inference: string;
  /** Threads of ClickHouse's queries, and of the workers that sort and count. */
  readonly threads: number;
  /** A ClickHouse server; empty starts an embedded one. */
  readonly clickhouseUrl: string;
  /** Cluster that the server is one of, by its name in remote_servers; empty keeps everything on that server. */
  readonly clickhouseCluster: string;
  /** User of that server who may do everything. */
  readonly clickhouseOwner: Login;
  /** User of that server who may only read the views. */
  readonly clickhouseAnalyst: Login;
  /** Memory of an embedded ClickHouse, MiB. */
  readonly clickhouseMemoryMib: number;
  /** Posting blocks that are encoded at a time. */
  readonly blocksInParallel: number;
  /** Chunks of one block that are on their way to the encoder at a time. */
  readonly chunksInFlight: number;
  /** Streams of codes made elsewhere that are taken at a time. */
  readonly ingestStreams: number;
  /** Memory of their blocks that are being filled and stored, MiB. */
  readonly ingestMemoryMib: number;
  /** SQL queries of users that run at a time. */
  readonly maxQueries: number;
  /** What one of them may cost on an embedded ClickHouse; another server says it in its profile of the analyst. */
  readonly queryLimits: AnalystLimits;
  /** Where vectors of explanations come from. */
  readonly embeddings: EmbeddingsConfig;
  /** Most MiB of memory that hold what was searched last by words and meaning. */
  readonly searchMemoryMib: number;
  /** Most MiB that tables may take on disk; 0 is no limit. */
  readonly diskMib: number;
  /** Where a ClickHouse server that was not started here writes backups, `{id}` for a backup's id; empty refuses them. */
  readonly backupTarget: string;
}

export const featureIndexDefaults: FeatureIndexConfig = {
  listen: "127.0.0.1:50053",
  data: ".mistral-sae/feature-index",
  inference: "127.0.0.1:50051",
  threads: availableParallelism(),
  clickhouseUrl: "",
  clickhouseCluster: "",
  clickhouseOwner: { username: "default", password: "" },
  clickhouseAnalyst: { username: "analyst", password: "" },
  clickhouseMemoryMib: 2048,
  blocksInParallel: 2,
  chunksInFlight: 4,
  ingestStreams: 8,
  ingestMemoryMib: 512,
  maxQueries: 8,
  queryLimits: analystDefaults,
  embeddings: { kind: "own" },
  searchMemoryMib: 1024,
  diskMib: 0,
  backupTarget: "",
};

type Environment = Readonly<Record<string, string | undefined>>;

/** Settings from the environment. @throws InputError naming the variable. */
export function readConfig(env: Environment): FeatureIndexConfig {
  const defaults = featureIndexDefaults;
  const count = (name: string, fallback: number) => positiveInteger(env, name, fallback);
  return {
    listen: env["MISTRAL_SAE_LISTEN"] ?? defaults.listen,
    data: env["MISTRAL_SAE_DATA"] ?? defaults.data,
    inference: env["MISTRAL_SAE_INFERENCE"] ?? defaults.inference,
    threads: count("MISTRAL_SAE_THREADS", defaults.threads),
    clickhouseUrl: env["MISTRAL_SAE_CLICKHOUSE_URL"] ?? defaults.clickhouseUrl,
    clickhouseCluster: env["MISTRAL_SAE_FEATURE_INDEX_CLICKHOUSE_CLUSTER"] ?? defaults.clickhouseCluster,
    clickhouseOwner: {
      username: env["MISTRAL_SAE_CLICKHOUSE_USER"] ?? defaults.clickhouseOwner.username,
      password: env["MISTRAL_SAE_CLICKHOUSE_PASSWORD"] ?? defaults.clickhouseOwner.password,
    },
    clickhouseAnalyst: {
      username: env["MISTRAL_SAE_CLICKHOUSE_ANALYST_USER"] ?? defaults.clickhouseAnalyst.username,
      password: env["MISTRAL_SAE_CLICKHOUSE_ANALYST_PASSWORD"] ?? defaults.clickhouseAnalyst.password,
    },
    clickhouseMemoryMib: count("MISTRAL_SAE_FEATURE_INDEX_CLICKHOUSE_MEMORY_MIB", defaults.clickhouseMemoryMib),
    blocksInParallel: count("MISTRAL_SAE_FEATURE_INDEX_BLOCKS_IN_PARALLEL", defaults.blocksInParallel),
    chunksInFlight: count("MISTRAL_SAE_FEATURE_INDEX_CHUNKS_IN_FLIGHT", defaults.chunksInFlight),
    ingestStreams: count("MISTRAL_SAE_FEATURE_INDEX_INGEST_STREAMS", defaults.ingestStreams),
    ingestMemoryMib: count("MISTRAL_SAE_FEATURE_INDEX_INGEST_MEMORY_MIB", defaults.ingestMemoryMib),
    maxQueries: count("MISTRAL_SAE_FEATURE_INDEX_MAX_QUERIES", defaults.maxQueries),
    queryLimits: {
      maxExecutionSeconds: count("MISTRAL_SAE_FEATURE_INDEX_QUERY_SECONDS", defaults.queryLimits.maxExecutionSeconds),
      maxResultRows: count("MISTRAL_SAE_FEATURE_INDEX_QUERY_ROWS", defaults.queryLimits.maxResultRows),
      maxResultBytes: count("MISTRAL_SAE_FEATURE_INDEX_QUERY_MIB", defaults.queryLimits.maxResultBytes / 2 ** 20) * 2 ** 20,
      maxMemoryBytes: count("MISTRAL_SAE_FEATURE_INDEX_QUERY_MEMORY_MIB", defaults.queryLimits.maxMemoryBytes / 2 ** 20) * 2 ** 20,
    },
    embeddings: readEmbeddingsConfig(env),
    searchMemoryMib: count("MISTRAL_SAE_FEATURE_INDEX_SEARCH_MEMORY_MIB", defaults.searchMemoryMib),
    diskMib: env["MISTRAL_SAE_FEATURE_INDEX_DISK_MIB"] === "0" ? 0 : count("MISTRAL_SAE_FEATURE_INDEX_DISK_MIB", defaults.diskMib),
    backupTarget: env["MISTRAL_SAE_FEATURE_INDEX_BACKUP_TARGET"] ?? defaults.backupTarget,
  };
}

function positiveInteger(env: Environment, name: string, fallback: number): number {
  const text = env[name];
  if (text === undefined || text === "") return fallback;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new InputError(`${name} is no count`, { field: name, got: text, wanted: "a whole number of at least 1" });
  }
  return value;
}
