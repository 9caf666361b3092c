import { SteeringMethod } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { Random } from "@mistral-sae/sae";
import type { ProcessState } from "./probe.ts";
import { InferenceProcess } from "./service-process.ts";

/** Memory for keys and values that the service is given here. */
export const cacheMib = 256;

export interface LoadOptions {
  readonly threads: number;
  /** How long the load lasts. */
  readonly seconds: number;
  /** Generations under way at a time. */
  readonly generations: number;
  /** Captures under way at a time. */
  readonly captures: number;
}

/** What a service under full load did. */
export interface LoadFigures {
  /** After the model was loaded, before anything ran. */
  readonly idle: ProcessState;
  readonly loaded: ProcessState;
  readonly generatedPerSecond: number;
  readonly capturedRowsPerSecond: number;
}

/** Loads the service with streams of every kind: plain and steered generations, baseline and variant, captures. */
export async function runLoad(modelDir: string, { threads, seconds, generations, captures }: LoadOptions): Promise<LoadFigures> {
  await using service = await InferenceProcess.start(modelDir, threads, { MISTRAL_SAE_INFERENCE_CACHE_MIB: String(cacheMib) });
  const { client } = service;
  const idle = await service.state();
  const { model } = await client.getCapabilities({});
  if (model === undefined) throw new Error("the service has no model");
  const { nLayers, dModel, dVocab } = model;
  const random = new Random(0);
  const prompt = (length: number) => ({ prompt: { case: "tokens" as const, value: { tokenIds: Array.from({ length }, () => 5 + (random.nextUint32() % (dVocab - 5))) } } });
  const hookName = `blocks.${nLayers >> 1}.hook_resid_post`;
  const vector = { dtype: DataType.F32, shape: [dModel], data: new Uint8Array(Float32Array.from({ length: dModel }, () => random.uniform(-0.05, 0.05)).buffer) };
  const steered = { variantId: "steered", interventions: [{ id: "add", target: { case: "direction" as const, value: { hookName, vector } }, method: SteeringMethod.ADD, strength: 1 }] };
  const plain = { variantId: "plain", interventions: [] };
  const kinds = [[plain], [steered], [plain, steered]];
  let generated = 0;
  let captured = 0;
  const over = new AbortController();
  const generate = async (kind: number): Promise<void> => {
    while (!over.signal.aborted) {
      const request = { prompt: prompt(64 + (random.nextUint32() % 128)), sampling: { temperature: 1, topK: 50, topP: 0.9, maxTokens: 48, ignoreEos: true, seed: BigInt(kind) }, variants: kinds[kind % kinds.length]! };
      for await (const { event } of client.generate(request)) {
        if (event.case === "step") generated++;
        if (over.signal.aborted) break;
      }
    }
  };
  const capture = async (): Promise<void> => {
    while (!over.signal.aborted) {
      for await (const { tensor } of client.forward({ prompts: Array.from({ length: 16 }, () => prompt(128)), hookNames: [hookName] })) {
        captured += tensor?.shape[0] ?? 0;
        if (over.signal.aborted) break;
      }
    }
  };
  const users = [...Array.from({ length: generations }, (_, i) => generate(i)), ...Array.from({ length: captures }, capture)];
  const finished = Promise.all(users);
  // A user that fails ends the load at once.
  await Promise.race([pause(Math.min(2, seconds / 4)), finished]);
  await service.state(true);
  generated = captured = 0;
  const began = performance.now();
  await Promise.race([pause(seconds), finished]);
  const took = (performance.now() - began) / 1000;
  const figures = { generatedPerSecond: generated / took, capturedRowsPerSecond: captured / took };
  const loaded = await service.state();
  over.abort();
  await finished;
  return { idle, loaded, ...figures };
}

function pause(seconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, seconds * 1000);
  });
}
