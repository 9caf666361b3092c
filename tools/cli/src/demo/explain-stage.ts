import { fromBinary } from "@bufbuild/protobuf";
import { createClient } from "@mistral-sae/rpc";
import { type BatchExplainResult, BatchExplainResultSchema, ExplanationService } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import type { Output } from "../output.ts";
import { requestIdOf } from "./demo-options.ts";
import { operationBars } from "./operation-bars.ts";
import { finished, whileAway } from "./watching.ts";

/** What the explanations came to. */
export interface Explained {
  readonly result: BatchExplainResult;
  readonly seconds: number;
}

/** Explains every live feature of an index, once. */
export async function explainStage(address: string, sae: string, index: string, output: Output, signal: AbortSignal): Promise<Explained> {
  const service = createClient(ExplanationService, address);
  const requestId = requestIdOf({ sae, index, stage: "explain" });
  const started = await whileAway(signal, () => service.batchExplain({ parent: sae, requestId }, { signal }));
  const bars = operationBars(output, "explain");
  const operation = await finished(createClient(OperationService, address), started.operation, signal, bars.show).finally(bars.end);
  if (operation.result.case !== "response") throw new Error(`${operation.name}: got no counts, wanted a BatchExplainResult`);
  const seconds = Object.values(operation.progress?.stageSeconds ?? {}).reduce((sum, s) => sum + s, 0);
  return { result: fromBinary(BatchExplainResultSchema, operation.result.value.value), seconds };
}
