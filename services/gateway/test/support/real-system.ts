import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { SaeService, ValidationPolicy } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { OperationService, OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { demoModelDir } from "@mistral-sae/demo-model";
import { createClient } from "@mistral-sae/rpc";
import { writeSae } from "@mistral-sae/sae";
import { configDefaults } from "../../src/config.ts";
import { gatewayServices } from "../../src/gateway.ts";
import { type Edge, startEdge } from "../../src/http-server.ts";
import { openAiRoutes } from "../../src/openai/routes.ts";

/** The SAE that the system has loaded. */
export const SAE = "models/demo/saes/unit";
/** Features of it, each a direction of the residual stream with unit length. */
export const D_SAE = 384;
const WIDTH = 192;

/** The edge in this process over an inference and a steering service of their own. */
export interface RealSystem {
  readonly url: string;
  readonly inference: string;
  readonly steering: string;
  /** Ends the inference service at once. */
  killInference(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts the demo model with an SAE. `limits` are variables of the inference service. */
export async function startRealSystem(limits: Readonly<Record<string, string>> = {}): Promise<RealSystem> {
  const data = await mkdtemp(join(tmpdir(), "openai-"));
  const children: ChildProcess[] = [];
  const start = async (name: string, env: Readonly<Record<string, string>>): Promise<string> => {
    const child = spawn(process.execPath, [join(import.meta.dirname, "..", "..", "..", name, "src", "main.ts")], {
      env: { ...process.env, MISTRAL_SAE_LISTEN: "127.0.0.1:0", MISTRAL_SAE_DATA: join(data, name), MISTRAL_SAE_PARENT_PIPE: "1", ...env },
      stdio: ["pipe", "pipe", "inherit"],
    });
    children.push(child);
    for await (const line of createInterface({ input: child.stdout })) {
      if (line.startsWith('{"ready"')) return (JSON.parse(line) as { readonly address: string }).address;
    }
    throw new Error(`${name} ended before it was ready`);
  };
  const inference = await start("inference", { MISTRAL_SAE_MODELS: `demo=${demoModelDir}`, MISTRAL_SAE_THREADS: "1", ...limits });
  const steering = await start("steering", { MISTRAL_SAE_INFERENCE: inference });
  await loadSae(inference, join(data, "sae"));
  const backends = { ...configDefaults.backends, inference, steering };
  const edge: Edge = await startEdge({
    listen: "127.0.0.1:0",
    services: gatewayServices(backends),
    page: new Map(),
    health: () => ({}),
    openAi: openAiRoutes({ backends, maxRequestBytes: 1 << 20 }),
    allowedOrigins: [],
    maxRequestBytes: 1 << 20,
  });
  return {
    url: `http://${edge.address}`,
    inference,
    steering,
    killInference: async () => {
      const [child] = children;
      if (child === undefined) return;
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    },
    stop: async () => {
      await edge.close(0);
      for (const child of children.toReversed()) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        const ended = once(child, "exit");
        child.stdin?.end();
        await ended;
      }
      await rm(data, { recursive: true, force: true });
    },
  };
}

/** An SAE whose features are the axes of the residual stream, in both signs. */
async function loadSae(inference: string, folder: string): Promise<void> {
  const wDec = new Float32Array(D_SAE * WIDTH);
  for (let f = 0; f < D_SAE; f++) wDec[f * WIDTH + (f % WIDTH)] = f < WIDTH ? 1 : -1;
  await writeSae(folder, {
    config: {
      architecture: "topk",
      dIn: WIDTH,
      dSae: D_SAE,
      k: 8,
      dtype: "float32",
      applyBDecToInput: true,
      normalizeActivations: "none",
      reshapeActivations: "none",
      rescaleActsByDecoderNorm: false,
      metadata: { hook_name: "blocks.2.hook_resid_pre", context_size: 128 },
    },
    wEnc: wDec.slice(),
    bEnc: new Float32Array(D_SAE),
    wDec,
    bDec: new Float32Array(WIDTH),
  });
  const { operation } = await createClient(SaeService, inference).createSae({ parent: "models/demo", saeId: "unit", uri: folder, validate: ValidationPolicy.SKIP });
  const { operation: done } = await createClient(OperationService, inference).waitOperation({ name: operation?.name ?? "" });
  if (done?.state !== OperationState.SUCCEEDED) throw new Error(`the SAE was not loaded: ${JSON.stringify(done?.result.value)}`);
}
