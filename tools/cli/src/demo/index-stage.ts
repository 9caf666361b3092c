import { fromBinary } from "@bufbuild/protobuf";
import { createClient, toRpcError, Code } from "@mistral-sae/rpc";
import { FeatureIndexService, type FeatureIndex, FeatureIndexSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import type { Output } from "../output.ts";
import { type DemoOptions, hashOf, requestIdOf } from "./demo-options.ts";
import { operationBars } from "./operation-bars.ts";
import { finished, whileAway } from "./watching.ts";

/** An index and how long it took to build. */
export interface IndexedCorpus {
  readonly index: FeatureIndex;
  readonly seconds: number;
}

/** Encodes the corpus with the SAE and builds its index, or finds the one that is there. */
export async function indexStage(
  address: string,
  options: DemoOptions,
  model: string,
  corpusUri: string,
  sae: string,
  output: Output,
  signal: AbortSignal,
): Promise<IndexedCorpus> {
  const service = createClient(FeatureIndexService, address);
  const corpusRequest = { model, source: { uri: corpusUri }, contextSize: options.contextSize };
  const corpusId = `demo-${hashOf(corpusRequest)}`;
  const corpus = `corpora/${corpusId}`;
  await whileAway(signal, async () => {
    try {
      await service.getCorpus({ name: corpus }, { signal });
    } catch (error) {
      if (toRpcError(error).code !== Code.NotFound) throw error;
      await service.createCorpus({ ...corpusRequest, corpusId, requestId: requestIdOf(corpusRequest) }, { signal });
    }
  });
  const request = { sae, corpus };
  const started = await whileAway(signal, () => service.indexCorpus({ ...request, requestId: requestIdOf(request) }, { signal }));
  const bars = operationBars(output, "index");
  const operation = await finished(createClient(OperationService, address), started.operation, signal, bars.show).finally(bars.end);
  if (operation.result.case !== "response") throw new Error(`${operation.name}: got no index, wanted a FeatureIndex`);
  const built = fromBinary(FeatureIndexSchema, operation.result.value.value);
  const listed = await whileAway(signal, () => service.listIndexes({ pageSize: 1000, withTableChecksums: true }, { signal }));
  const seconds = Object.values(operation.progress?.stageSeconds ?? {}).reduce((sum, s) => sum + s, 0);
  return { index: listed.indexes.find(({ name }) => name === built.name) ?? built, seconds };
}
