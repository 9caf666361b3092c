import { create, type Message } from "@bufbuild/protobuf";
import {
  ExportDelphiCacheRequestSchema,
  ExportNeuronpediaRequestSchema,
  ExportParquetRequestSchema,
  ExportSaeDashboardRequestSchema,
  type FeatureIndexService,
  ImportDelphiCacheRequestSchema,
  ImportNeuronpediaRequestSchema,
  ImportSaeDashboardRequestSchema,
} from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { Operation } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { type Handlers, invalidArgument, parseName } from "@mistral-sae/rpc";
import { exportFolder, folderOf } from "../exchange/export-folder.ts";
import { registeredSae } from "../exchange/import/import-target.ts";
import { requireReadyIndex } from "../exchange/ready-index.ts";
import type { Parts } from "../parts.ts";
import { requireRoom } from "../storage/usage.ts";

type Names = "exportParquet" | "exportNeuronpedia" | "exportDelphiCache" | "exportSaeDashboard" | "importNeuronpedia" | "importSaeDashboard" | "importDelphiCache";

/** What every request for an export says. */
interface ExportRequest {
  readonly index: string;
  readonly uri: string;
  readonly requestId: string;
}

/** What every request for an import says. */
interface ImportRequest {
  readonly uri: string;
  readonly sae: string;
  readonly requestId: string;
}

export function exchangeHandlers({ catalogue, engine, exports, peers, storage }: Parts): Pick<Handlers<typeof FeatureIndexService>, Names> {
  /** Starts the job of a kind; `format` names the folder of an export that names none. */
  const exporter =
    (kind: string, format: string, inputOf: (index: string, uri: string) => Message) =>
    async ({ index, uri, requestId }: ExportRequest): Promise<{ operation: Operation }> => {
      const folder = exportFolder(uri, exports, requireReadyIndex(catalogue, index), format);
      return await Promise.resolve({ operation: engine.start(kind, inputOf(index, folder), { requestId }) });
    };
  /** Starts the job of a kind. What could never be imported is refused here, while somebody is looking. */
  const importer =
    (kind: string, inputOf: (uri: string, sae: string) => Message) =>
    async ({ uri, sae, requestId }: ImportRequest, { signal }: { readonly signal: AbortSignal }): Promise<{ operation: Operation }> => {
      if (uri === "") throw invalidArgument("uri", "got nothing, wanted the absolute path of a folder on the machine of the feature index");
      parseName("models/{model}/saes/{sae}", sae, "sae");
      await requireRoom(storage);
      await registeredSae(peers, sae, signal);
      return { operation: engine.start(kind, inputOf(folderOf(uri), sae), { requestId }) };
    };
  return {
    importNeuronpedia: importer("import-neuronpedia", (uri, sae) => create(ImportNeuronpediaRequestSchema, { uri, sae })),
    importSaeDashboard: importer("import-saedashboard", (uri, sae) => create(ImportSaeDashboardRequestSchema, { uri, sae })),
    importDelphiCache: importer("import-delphi-cache", (uri, sae) => create(ImportDelphiCacheRequestSchema, { uri, sae })),
    exportParquet: exporter("export-parquet", "parquet", (index, uri) => create(ExportParquetRequestSchema, { index, uri })),
    exportNeuronpedia: exporter("export-neuronpedia", "neuronpedia", (index, uri) => create(ExportNeuronpediaRequestSchema, { index, uri })),
    exportSaeDashboard: exporter("export-saedashboard", "saedashboard", (index, uri) => create(ExportSaeDashboardRequestSchema, { index, uri })),
    exportDelphiCache: exporter("export-delphi-cache", "delphi", (index, uri) => create(ExportDelphiCacheRequestSchema, { index, uri })),
  };
}
