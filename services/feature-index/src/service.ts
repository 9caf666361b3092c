import { join, resolve } from "node:path";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { backupsFolder, ClickHouse, type ClickHouseServer, migrate, openClickHouse } from "@mistral-sae/clickhouse";
import { FeatureIndexService, ImportNeuronpediaRequestSchema, ImportSaeDashboardRequestSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { JobEngine, operationHandlers } from "@mistral-sae/jobs";
import { implement, type ServiceImplementation } from "@mistral-sae/rpc";
import { Catalogue } from "./catalogue/catalogue.ts";
import { handlersOrUnavailable } from "./clickhouse-away.ts";
import type { FeatureIndexConfig } from "./config.ts";
import { CorpusStore } from "./corpus/store-corpus.ts";
import { Vocabularies } from "./corpus/vocabulary.ts";
import { corpusHandlers } from "./handlers/corpora.ts";
import { exportParquetJob } from "./exchange/export-parquet.ts";
import { exportDelphiJob } from "./exchange/delphi/export-delphi.ts";
import { importDelphiJob } from "./exchange/delphi/import-delphi.ts";
import { importDashboardJob } from "./exchange/import/import-dashboard.ts";
import { exportNeuronpediaJob } from "./exchange/neuronpedia/export-neuronpedia.ts";
import { exportSaeDashboardJob } from "./exchange/saedashboard/export-saedashboard.ts";
import { compareHandlers } from "./handlers/compare.ts";
import { exchangeHandlers } from "./handlers/exchange.ts";
import { explanationHandlers } from "./handlers/explanations.ts";
import { featureHandlers } from "./handlers/features.ts";
import { indexHandlers } from "./handlers/indexes.ts";
import { ingestHandlers } from "./handlers/ingest.ts";
import { queryHandlers } from "./handlers/query.ts";
import { savedQueryHandlers } from "./handlers/saved-queries.ts";
import { testFeatureHandlers } from "./handlers/test-feature.ts";
import { storageHandlers } from "./handlers/storage.ts";
import { searchHandlers } from "./handlers/search.ts";
import { textHandlers } from "./handlers/text.ts";
import { trainingMetricsHandlers } from "./handlers/training-metrics.ts";
import type { CompleteParts } from "./indexing/complete-index.ts";
import { indexJob } from "./indexing/index-job.ts";
import { blockWorkers, type StoreParts } from "./indexing/store-block.ts";
import { StoredBlocks } from "./indexing/stored-blocks.ts";
import { finishJob } from "./ingest/finish-job.ts";
import { Ingest } from "./ingest/ingest.ts";
import { IngestMemory } from "./ingest/ingest-memory.ts";
import type { Parts } from "./parts.ts";
import { connectPeers } from "./peers/peers.ts";
import { UserQueries } from "./query/run-query.ts";
import { SavedQueries } from "./query/saved-queries.ts";
import { Densities } from "./serving/densities.ts";
import { FeaturePages } from "./serving/feature-pages.ts";
import { requireGlobalJoins } from "./store/require-global-joins.ts";
import { backupJob } from "./storage/backup.ts";
import { BackupFiles } from "./storage/backup-files.ts";
import { compactJob } from "./storage/compact.ts";
import { restoreJob } from "./storage/restore.ts";
import { requireRoom, type StorageFacts } from "./storage/usage.ts";
import { SHARDING, TABLES_DATABASE, VIEWS_DATABASE } from "./store/tables.ts";
import { Meaning } from "./vectors/meaning.ts";

/** The service with everything it holds. */
export interface FeatureIndex {
  readonly services: readonly ServiceImplementation[];
  /** The ClickHouse that it uses. */
  readonly server: ClickHouseServer;
  /** Takes up work that a former process left unfinished. */
  recover(): void;
  /** Stops the work where it can be taken up again, then the workers and an embedded ClickHouse. */
  close(): Promise<void>;
}

/** Opens catalogue and ClickHouse, brings the schema up to date and makes the handlers. */
export async function openFeatureIndex(config: FeatureIndexConfig): Promise<FeatureIndex> {
  const server = await openClickHouse({
    url: config.clickhouseUrl,
    cluster: config.clickhouseCluster,
    owner: config.clickhouseOwner,
    analyst: config.clickhouseAnalyst,
    folder: join(config.data, "clickhouse"),
    threads: config.threads,
    maxMemoryBytes: config.clickhouseMemoryMib * 2 ** 20,
    viewsDatabase: VIEWS_DATABASE,
    analystLimits: config.queryLimits,
  });
  const clickhouse = new ClickHouse({ url: server.url, login: server.owner });
  const analyst = new ClickHouse({ url: server.url, login: server.analyst, database: VIEWS_DATABASE, mayChangeSettings: false, killer: clickhouse });
  const closeDatabase = async () => {
    await analyst.close();
    await clickhouse.close();
    await server.stop();
  };
  try {
    await applyMigrations(clickhouse, server.owner.username);
    await requireGlobalJoins(analyst);
    return await assemble(config, server, clickhouse, analyst, closeDatabase);
  } catch (error) {
    await closeDatabase();
    throw error;
  }
}

/** Where backups go: what the configuration says, or, of an embedded server, the folder that it may write to. */
function backupTarget({ backupTarget: template, clickhouseUrl, data }: FeatureIndexConfig): (id: string) => string | undefined {
  if (template !== "") return (id) => template.replaceAll("{id}", id);
  if (clickhouseUrl !== "") return () => undefined;
  const folder = resolve(backupsFolder(join(data, "clickhouse")));
  return (id) => `File('${join(folder, id).replaceAll("\\", "\\\\").replaceAll("'", "\\'")}')`;
}

async function applyMigrations(clickhouse: ClickHouse, owner: string): Promise<void> {
  await migrate(clickhouse, {
    folder: fileURLToPath(new URL("../migrations", import.meta.url)),
    database: TABLES_DATABASE,
    databases: [VIEWS_DATABASE],
    variables: { views: VIEWS_DATABASE, owner },
    shards: SHARDING,
  });
}

async function assemble(config: FeatureIndexConfig, server: ClickHouseServer, clickhouse: ClickHouse, analyst: ClickHouse, closeDatabase: () => Promise<void>): Promise<FeatureIndex> {
  const catalogue = new Catalogue(join(config.data, "catalogue.sqlite"));
  const peers = connectPeers(config.inference);
  const vocabularies = new Vocabularies(clickhouse, catalogue, peers);
  const corpora = new CorpusStore({ clickhouse, catalogue, vocabularies, peers });
  const threads = Math.min(config.threads, availableParallelism());
  const sorters = blockWorkers(server.url, server.owner, Math.min(threads, config.blocksInParallel));
  const blocks: StoreParts = { sorters, stored: new StoredBlocks(clickhouse) };
  const storage: StorageFacts = { clickhouse, catalogue, data: config.data, budgetBytes: config.diskMib * 2 ** 20 };
  const memory = new IngestMemory(config.ingestMemoryMib * 2 ** 20);
  const complete: CompleteParts = { clickhouse, url: server.url, owner: server.owner, catalogue, vocabularies, peers, stored: blocks.stored, threads };
  const { blocksInParallel } = config;
  const indexJobs = [
    indexJob({ ...complete, ...blocks, storage, corpora, blocksInParallel, chunksInFlight: config.chunksInFlight }),
    finishJob({ ...complete, ...blocks, storage, memory, blocksInParallel }),
  ];
  const backups = new BackupFiles(join(config.data, "backups"));
  const pages = new FeaturePages({ clickhouse, vocabularies, peers });
  const { embeddings, searchMemoryMib } = config;
  const meaning = await Meaning.open({ clickhouse, catalogue, vocabularies, url: server.url, owner: server.owner, threads, searchMemoryMib, embeddings });
  const storageJobs = [
    compactJob(storage),
    backupJob({ clickhouse, catalogue, files: backups, targetOf: backupTarget(config) }),
    meaning.refreshedBy(restoreJob({ clickhouse, catalogue, files: backups, migrate: async () => await applyMigrations(clickhouse, server.owner.username) })),
  ];
  const imports = { clickhouse, url: server.url, owner: server.owner, catalogue, peers, vocabularies, storage, threads };
  const dashboards = { clickhouse, catalogue, vocabularies, pages };
  const importJobs = [
    importDashboardJob(imports, "neuronpedia", ImportNeuronpediaRequestSchema),
    importDashboardJob(imports, "saedashboard", ImportSaeDashboardRequestSchema),
    importDelphiJob({ ...imports, ...blocks, blocksInParallel: config.blocksInParallel }),
  ];
  const engine = await JobEngine.open({ service: "feature-index", path: join(config.data, "jobs.sqlite"), definitions: [...[...indexJobs, ...importJobs].map((job) => meaning.refreshedBy(job)), meaning.job, exportParquetJob({ clickhouse, catalogue }), exportNeuronpediaJob(dashboards), exportSaeDashboardJob(dashboards), exportDelphiJob({ clickhouse, catalogue }), ...storageJobs] });
  const savedQueries = new SavedQueries(catalogue, clickhouse, new URL("../queries/", import.meta.url));
  const parts: Parts = {
    clickhouse,
    catalogue,
    engine,
    ingest: new Ingest({ ...blocks, clickhouse, catalogue, memory, streams: config.ingestStreams, requireRoom: async () => await requireRoom(storage) }),
    peers,
    corpora,
    vocabularies,
    pages,
    meaning,
    densities: new Densities(clickhouse),
    exports: resolve(config.data, "exports"),
    storage,
    backups,
    queries: new UserQueries(analyst, savedQueries, config.maxQueries),
    savedQueries,
  };
  const handlers = handlersOrUnavailable({
    ...corpusHandlers(parts),
    ...indexHandlers(parts),
    ...ingestHandlers(parts),
    ...featureHandlers(parts),
    ...searchHandlers(parts),
    ...textHandlers(parts),
    ...explanationHandlers(parts),
    ...queryHandlers(parts),
    ...savedQueryHandlers(parts),
    ...compareHandlers(parts),
    ...testFeatureHandlers(parts),
    ...exchangeHandlers(parts),
    ...storageHandlers(parts),
    ...trainingMetricsHandlers(parts),
  });
  return {
    services: [implement(FeatureIndexService, handlers), implement(OperationService, operationHandlers(engine))],
    server,
    recover: () => {
      engine.recover();
      meaning.start(engine);
    },
    close: async () => {
      meaning.stop();
      await engine.close();
      await meaning.close();
      await sorters.close();
      catalogue.close();
      await closeDatabase();
    },
  };
}
