import { Random } from "@mistral-sae/sae";
import { InferenceProcess } from "./service-process.ts";
import { type Contender, tokensOf, type Work } from "./work.ts";

/** The inference service, asked over gRPC from this process; harvests only. */
export interface ServiceContender extends Contender, AsyncDisposable {}

/** Starts the service with a model. */
export async function startServiceContender(modelDir: string, threads: number, dVocab: number): Promise<ServiceContender> {
  const service = await InferenceProcess.start(modelDir, threads);
  const random = new Random(0);
  return {
    name: "mistral-sae over gRPC",
    version: "this project",
    async run(work: Work) {
      if (work.work !== "harvest") throw new Error(`the service is measured at harvesting only, not at ${work.work}`);
      const prompts = Array.from({ length: work.batch }, () => ({
        prompt: { case: "tokens" as const, value: { tokenIds: Array.from({ length: work.tokens }, () => 5 + (random.nextUint32() % (dVocab - 5))) } },
      }));
      const { cpuMs: cpu } = await service.state();
      const wall = performance.now();
      let rows = 0;
      for (let i = 0; i < work.times; i++) for await (const { tensor } of service.client.forward({ prompts, hookNames: [`blocks.${work.layer}.hook_resid_post`] })) rows += tensor?.shape[0] ?? 0;
      const wallMs = performance.now() - wall;
      if (rows !== tokensOf(work)) throw new Error(`the service sent ${rows} rows of ${tokensOf(work)}`);
      const after = await service.state();
      return { wallMs, cpuMs: after.cpuMs - cpu, peakRss: after.peakRss };
    },
    [Symbol.asyncDispose]: () => service[Symbol.asyncDispose](),
  };
}
