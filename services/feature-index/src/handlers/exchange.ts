import { create, type Message } from "@bufbuild/protobuf";
import { ExportDelphiCacheRequestSchema, ExportNeuronpediaRequestSchema, ExportParquetRequestSchema, type FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { Operation } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import type { Handlers } from "@mistral-sae/rpc";
import { exportFolder } from "../exchange/export-folder.ts";
import { requireReadyIndex } from "../exchange/ready-index.ts";
import type { Parts } from "../parts.ts";

type Names = "exportParquet" | "exportNeuronpedia" | "exportDelphiCache";

/** What every request for an export says. */
interface ExportRequest {
  readonly index: string;
  readonly uri: string;
  readonly requestId: string;
}

export function exchangeHandlers({ catalogue, engine, exports }: Parts): Pick<Handlers<typeof FeatureIndexService>, Names> {
  /** Starts the job of a kind; `format` names the folder of an export that names none. */
  const exporter =
    (kind: string, format: string, inputOf: (index: string, uri: string) => Message) =>
    async ({ index, uri, requestId }: ExportRequest): Promise<{ operation: Operation }> => {
      const folder = exportFolder(uri, exports, requireReadyIndex(catalogue, index), format);
      return await Promise.resolve({ operation: engine.start(kind, inputOf(index, folder), { requestId }) });
    };
  return {
    exportParquet: exporter("export-parquet", "parquet", (index, uri) => create(ExportParquetRequestSchema, { index, uri })),
    exportNeuronpedia: exporter("export-neuronpedia", "neuronpedia", (index, uri) => create(ExportNeuronpediaRequestSchema, { index, uri })),
    exportDelphiCache: exporter("export-delphi-cache", "delphi", (index, uri) => create(ExportDelphiCacheRequestSchema, { index, uri })),
  };
}
