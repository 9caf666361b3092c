import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { create } from "@bufbuild/protobuf";
import { type Feature, FeatureSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { OperationService, OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SaeService, ValidationPolicy } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { demoModelDir } from "@mistral-sae/demo-model";
import { type Client, createClient, implement, notFound, type RunningServer, startServer } from "@mistral-sae/rpc";
import { words, writeWordSae } from "./word-sae.ts";

export const sae = "models/demo/saes/words";

/** A service that runs as a process of its own. */
export interface ServiceProcess {
  readonly child: ChildProcess;
  readonly address: string;
  /** SIGTERM, or the signal given; resolves with the exit code once the process has ended. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

/** Starts services/{name}/src/main.ts and waits for its ready line. */
export async function startProcess(name: string, env: Readonly<Record<string, string>>): Promise<ServiceProcess> {
  const script = join(import.meta.dirname, "../../..", name, "src/main.ts");
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", script], {
    env: { ...process.env, MISTRAL_SAE_LISTEN: "127.0.0.1:0", MISTRAL_SAE_PARENT_PIPE: "1", MISTRAL_SAE_LOG_LEVEL: "error", ...env },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  const [line] = (await Promise.race([
    once(createInterface({ input: child.stdout }), "line"),
    ended.then(([code]) => {
      throw new Error(`the ${name} service ended with ${String(code)} before it was ready`);
    }),
  ])) as [string];
  return {
    child,
    address: (JSON.parse(line) as { address: string }).address,
    stop: async (signal = "SIGTERM") => {
      child.kill(signal);
      await ended;
      return child.exitCode;
    },
  };
}

/** The real inference service with the demo model and the word SAE, and a feature index that knows its features. */
export interface TestSystem {
  readonly inferenceAddress: string;
  readonly indexAddress: string;
  readonly inference: Client<typeof InferenceService>;
  /** A folder for what the test keeps. */
  readonly data: string;
  /** kill -9 of the inference service, and a new process at the same address. */
  killInference(): Promise<void>;
  close(): Promise<void>;
}

export async function startSystem(): Promise<TestSystem> {
  const data = mkdtempSync(join(tmpdir(), "steering-"));
  const env = { MISTRAL_SAE_DATA: join(data, "inference"), MISTRAL_SAE_MODELS: `demo=${demoModelDir}` };
  let inference = await startProcess("inference", env);
  const client = createClient(InferenceService, inference.address);
  const { sequences } = await client.tokenize({ prompts: words.map((word) => ({ prompt: { case: "text" as const, value: ` ${word}` }, prependBos: false })) });
  const folder = join(data, "sae");
  await writeWordSae(folder, sequences.map(({ tokenIds }) => tokenIds[0] ?? 0));
  await registerSae(inference.address, folder);
  const index = await startWordIndex();
  return {
    inferenceAddress: inference.address,
    indexAddress: index.address,
    inference: client,
    data,
    killInference: async () => {
      await inference.stop("SIGKILL");
      inference = await startProcess("inference", { ...env, MISTRAL_SAE_LISTEN: inference.address });
    },
    close: async () => {
      await index.close(100);
      await inference.stop();
      rmSync(data, { recursive: true });
    },
  };
}

async function registerSae(address: string, uri: string): Promise<void> {
  const saes = createClient(SaeService, address);
  const { operation } = await saes.createSae({ parent: "models/demo", saeId: "words", uri, validate: ValidationPolicy.SKIP });
  const done = (await createClient(OperationService, address).waitOperation({ name: operation?.name ?? "" })).operation;
  if (done?.state !== OperationState.SUCCEEDED) throw new Error(`the SAE was not registered: ${done?.result.case === "error" ? done.result.value.message : ""}`);
}

/** Feature f fires on word f and a rare second one; the last feature never fires. */
export function wordFeature(index: number): Feature {
  const word = words[index] ?? "";
  const dead = index === words.length - 1;
  return create(FeatureSchema, {
    name: `${sae}/features/${index}`,
    featureIndex: index,
    nFirings: dead ? 0n : 500n,
    dead,
    fracNonzero: 0.001,
    maxActivation: dead ? 0 : 10,
    topTokens: dead ? [] : [{ tokenId: index, strToken: ` ${word}`, n: 400n, sumActivation: 4000 }, { tokenId: 99, strToken: " zebra", n: 1n, sumActivation: 1 }, { tokenId: 98, strToken: "s", n: 1n, sumActivation: 1 }],
    posLogits: dead ? [] : [{ tokenId: index, strToken: ` ${word}`, logit: 3 }],
    explanations: dead ? [] : [{ name: `${sae}/features/${index}/explanations/e`, description: `fires on “${word}”`, explanationType: "local_summary" }],
  });
}

async function startWordIndex(): Promise<RunningServer> {
  const features = words.map((_, i) => wordFeature(i));
  return await startServer({
    listen: "127.0.0.1:0",
    services: [
      implement(FeatureIndexService, {
        listFeatures: async () => ({ features: features.filter(({ dead }) => !dead), totalSize: BigInt(words.length - 1) }),
        batchGetFeatures: async ({ featureIndices }) => ({ features: featureIndices.map(wordFeature) }),
        getFeature: async ({ name }) => {
          const feature = features.find((known) => known.name === name);
          if (feature === undefined) throw notFound(name);
          return { feature };
        },
        searchExplanations: async ({ query, pageSize }) => ({
          hits: features.filter(({ dead }, i) => !dead && query.includes(words[i] ?? "-")).slice(0, pageSize).map((feature) => ({ feature, value: 1 })),
        }),
      }),
    ],
  });
}
