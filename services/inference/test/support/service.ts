import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GRPCInferenceService } from "@mistral-sae/contracts/inference/grpc_predict_v2";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SaeService } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { demoModelDir } from "@mistral-sae/demo-model";
import { type Client, createClient, startServer } from "@mistral-sae/rpc";
import { createInferenceServices, type EngineOpener, type InferenceConfig, inferenceDefaults } from "../../src/index.ts";

/** The demo model's name in tests. */
export const MODEL = "models/demo";

/** A service on a port of its own, with clients that speak gRPC to it. */
export interface TestService {
  readonly inference: Client<typeof InferenceService>;
  readonly saes: Client<typeof SaeService>;
  readonly operations: Client<typeof OperationService>;
  readonly openInference: Client<typeof GRPCInferenceService>;
  /** host:port. */
  readonly address: string;
  /** Folder that it owns; outlives stop(), so that another may be started on it. */
  readonly data: string;
  stop(): Promise<void>;
}

/** Starts the service with the demo model. */
export async function startService(config: Partial<InferenceConfig> = {}, openEngine?: EngineOpener): Promise<TestService> {
  const data = config.data ?? (await mkdtemp(join(tmpdir(), "inference-")));
  const services = await createInferenceServices(
    {
      ...inferenceDefaults,
      threads: 1,
      models: [{ id: "demo", folder: demoModelDir }],
      ...config,
      data,
    },
    openEngine,
  );
  const server = await startServer({ listen: "127.0.0.1:0", services: services.services });
  await services.load(server);
  return {
    data,
    address: server.address,
    inference: createClient(InferenceService, server.address),
    saes: createClient(SaeService, server.address),
    operations: createClient(OperationService, server.address),
    openInference: createClient(GRPCInferenceService, server.address),
    stop: async () => {
      await server.close(500);
      await services.close();
    },
  };
}

/** Removes what a service left on disk. */
export async function removeData(service: TestService): Promise<void> {
  await rm(service.data, { recursive: true, force: true });
}
