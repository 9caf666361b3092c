import { mkdtemp, rm } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { Load } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SaeService, ValidationPolicy } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { demoModelDir } from "@mistral-sae/demo-model";
import { type Client, createClient } from "@mistral-sae/rpc";
import { ServiceProcess } from "../acceptance/service-process.ts";
import { compare } from "./compare.ts";
import { play } from "./play.ts";
import { Random } from "./random.ts";
import { commonBeginnings, randomRequest } from "./random-request.ts";
import { SAE_HOOK, writeRandomSae } from "./random-sae.ts";

export interface SoakOptions {
  readonly requests: number;
  readonly seed: number;
  /** Requests under way at a time. */
  readonly concurrency: number;
  /** Memory for keys and values of the service, MiB: little, so that rows wait for it. */
  readonly cacheMib: number;
  /** Told now and then how far it is. */
  readonly progress?: (line: string) => void;
}

/** What came of it. */
export interface SoakReport {
  readonly faults: readonly string[];
  /** Requests whose texts part between two tokens as good as equally likely. */
  readonly close: number;
  readonly ends: Readonly<Record<string, number>>;
  readonly generatedTokens: number;
  readonly cachedTokens: number;
  /** The service's load when all had ended. */
  readonly load: Load | undefined;
  /** Resident memory, MiB: medians of the three thirds. In the first one heaps and arenas find their size. */
  readonly rssMib: readonly [number, number, number];
  readonly seconds: number;
}

const SAE = "models/demo/saes/soak";
const MODELS = { MISTRAL_SAE_MODELS: `demo=${demoModelDir}`, MISTRAL_SAE_THREADS: "1" };

/** Random requests to a busy service, each held against what the same request gives alone in another process. */
export async function soak({ requests, seed, concurrency, cacheMib, progress = () => undefined }: SoakOptions): Promise<SoakReport> {
  const folder = await mkdtemp(join(tmpdir(), "soak-"));
  const sae = await writeRandomSae(seed);
  const services: ServiceProcess[] = [];
  const start = async (name: string, env: Readonly<Record<string, string>>): Promise<Client<typeof InferenceService>> => {
    const service = await ServiceProcess.start("inference", join(folder, name), { ...MODELS, ...env });
    services.push(service);
    await register(service.address, sae);
    return createClient(InferenceService, service.address);
  };
  try {
    const busy = await start("busy", { MISTRAL_SAE_INFERENCE_CACHE_MIB: String(cacheMib) });
    const lone = await start("lone", { MISTRAL_SAE_INFERENCE_PREFIX_CACHE: "off" });
    const pid = services[0]?.pid ?? 0;
    const began = performance.now();
    const random = new Random(seed);
    const beginnings = commonBeginnings(random);
    const all = Array.from({ length: requests }, () => randomRequest(random, beginnings, SAE));
    const faults: string[] = [];
    const ends: Record<string, number> = {};
    const rss: number[] = [];
    const total = { close: 0, generatedTokens: 0, cachedTokens: 0 };
    let next = 0;
    let turn: Promise<unknown> = Promise.resolve();
    const worker = async (): Promise<void> => {
      for (let i = next++; i < requests; i = next++) {
        const { request, fate } = all[i] as (typeof all)[number];
        const got = await play(busy, request, fate);
        ends[got.end] = (ends[got.end] ?? 0) + 1;
        for (const { tokens, cachedTokens } of got.variants.values()) {
          total.generatedTokens += tokens.length;
          total.cachedTokens += cachedTokens;
        }
        if (i % 10 === 0) rss.push(residentMib(pid));
        if (i % 500 === 0) progress(`${i} of ${requests}, ${Math.round(performance.now() - began)} ms, ${faults.length} faults, ${rss.at(-1)} MiB`);
        const check = async (): Promise<void> => {
          const verdict = compare(got, await play(lone, { ...request, sampling: { ...request.sampling, nLogprobs: Math.max(2, request.sampling?.nLogprobs ?? 0) } }), fate.cancelAfter !== undefined || fate.timeoutMs !== undefined);
          total.close += verdict.close;
          for (const fault of verdict.faults) faults.push(`request ${i} (${fate.cancelAfter ?? "-"}, ${fate.timeoutMs ?? "-"}): ${fault}`);
        };
        // One at a time: alone.
        turn = turn.then(check);
      }
    };
    await Promise.all(Array.from({ length: concurrency }, worker));
    progress(`all ended after ${Math.round(performance.now() - began)} ms; the last ones are held against what they give alone`);
    const load = await settledLoad(busy);
    await turn;
    const third = Math.floor(rss.length / 3);
    return {
      ...total,
      faults,
      ends,
      load,
      rssMib: [median(rss.slice(0, third)), median(rss.slice(third, 2 * third)), median(rss.slice(-third))],
      seconds: (performance.now() - began) / 1000,
    };
  } finally {
    for (const service of services) await service.stop();
    await rm(folder, { recursive: true, force: true });
    await rm(sae, { recursive: true, force: true });
  }
}

async function register(address: string, uri: string): Promise<void> {
  const { operation } = await createClient(SaeService, address).createSae({ parent: "models/demo", saeId: "soak", uri, hookName: SAE_HOOK, validate: ValidationPolicy.SKIP });
  const { operation: done } = await createClient(OperationService, address).waitOperation({ name: operation?.name ?? "" });
  if (done?.result.case !== "response") throw new Error(`the SAE was not registered: ${done?.result.case === "error" ? done.result.value.message : "no result"}`);
}

/** The load once what was cancelled last has left. */
async function settledLoad(client: Client<typeof InferenceService>): Promise<Load | undefined> {
  for (let i = 0; ; i++) {
    const { load } = await client.getCapabilities({});
    if (i === 50 || (load?.rows === 0 && load.queuedRequests === 0)) return load;
    await sleep(100);
  }
}

function residentMib(pid: number): number {
  const kib = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Math.round(Number(kib) / 1024);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
