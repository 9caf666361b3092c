import { create } from "@bufbuild/protobuf";
import { ExportDelphiCacheRequestSchema, ExportNeuronpediaRequestSchema, ExportParquetRequestSchema, type FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { Handlers } from "@mistral-sae/rpc";
import { exportFolder } from "../exchange/export-folder.ts";
import { requireReadyIndex } from "../exchange/ready-index.ts";
import type { Parts } from "../parts.ts";

type Names = "exportParquet" | "exportNeuronpedia" | "exportDelphiCache";

export function exchangeHandlers({ catalogue, engine, exports }: Parts): Pick<Handlers<typeof FeatureIndexService>, Names> {
  return {
    exportParquet: async ({ index, uri, requestId }) => {
      const folder = exportFolder(uri, exports, requireReadyIndex(catalogue, index), "parquet");
      const input = create(ExportParquetRequestSchema, { index, uri: folder });
      return await Promise.resolve({ operation: engine.start("export-parquet", input, { requestId }) });
    },
    exportNeuronpedia: async ({ index, uri, requestId }) => {
      const folder = exportFolder(uri, exports, requireReadyIndex(catalogue, index), "neuronpedia");
      const input = create(ExportNeuronpediaRequestSchema, { index, uri: folder });
      return await Promise.resolve({ operation: engine.start("export-neuronpedia", input, { requestId }) });
    },
    exportDelphiCache: async ({ index, uri, requestId }) => {
      const folder = exportFolder(uri, exports, requireReadyIndex(catalogue, index), "delphi");
      const input = create(ExportDelphiCacheRequestSchema, { index, uri: folder });
      return await Promise.resolve({ operation: engine.start("export-delphi-cache", input, { requestId }) });
    },
  };
}
