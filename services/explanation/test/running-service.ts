import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { type BatchExplainResult, BatchExplainResultSchema, ExplanationService } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { type Operation, OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { type Client, createClient, startServer } from "@mistral-sae/rpc";
import { endpointDefaults } from "../src/config.ts";
import { openExplanationService } from "../src/open-service.ts";
import { type FakeIndex, startFakeIndex } from "./fake-feature-index.ts";
import { type FakeLlm, startFakeLlm } from "./fake-llm.ts";

/** The service over gRPC beside a fake index and, if a script is given, a fake endpoint. */
export interface RunningService {
  readonly explanation: Client<typeof ExplanationService>;
  readonly operations: Client<typeof OperationService>;
  readonly index: FakeIndex;
  readonly llm: FakeLlm | undefined;
  close(): Promise<void>;
}

export async function startService(features: number, answer?: FakeLlm["answer"]): Promise<RunningService> {
  const data = mkdtempSync(join(tmpdir(), "explanation-"));
  const index = await startFakeIndex(features);
  const llm = answer === undefined ? undefined : await startFakeLlm(answer);
  const prices = { m: { prompt: 1000, completion: 10_000 } };
  const endpoints = llm === undefined ? [] : [{ ...endpointDefaults, name: "default", baseUrl: llm.baseUrl, model: "m", prices, maxAttempts: 4 }];
  const service = await openExplanationService({ listen: "", data, featureIndex: index.server.address, endpoints });
  const server = await startServer({ listen: "127.0.0.1:0", services: service.implementations });
  return {
    explanation: createClient(ExplanationService, server.address),
    operations: createClient(OperationService, server.address),
    index,
    llm,
    close: async () => {
      await service.close();
      await server.close(100);
      await index.server.close(100);
      llm?.close();
      rmSync(data, { recursive: true });
    },
  };
}

/** The result of an operation that has succeeded. */
export function resultOf(operation: Operation | undefined): BatchExplainResult {
  const result = operation?.result.case === "response" ? anyUnpack(operation.result.value, BatchExplainResultSchema) : undefined;
  if (result === undefined) throw new Error(`the operation gave no BatchExplainResult: ${JSON.stringify(operation?.result.value)}`);
  return result;
}
