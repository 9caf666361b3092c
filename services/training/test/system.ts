import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TrainingConfig, TrainingConfigSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { TrainingRunState, TrainingService, type TrainingMetrics, type TrainingRun } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { demoModelDir } from "@mistral-sae/demo-model";
import { createClient, type Client } from "@mistral-sae/rpc";

/** A service as a child process, as users run it. */
export class Child {
  readonly address: string;
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess, address: string) {
    this.#process = process;
    this.address = address;
  }

  static async start(service: string, env: Readonly<Record<string, string>>): Promise<Child> {
    const main = fileURLToPath(new URL(`../../${service}/src/main.ts`, import.meta.url));
    const child = spawn(process.execPath, [main], {
      env: { ...process.env, MISTRAL_SAE_LISTEN: "127.0.0.1:0", MISTRAL_SAE_PARENT_PIPE: "1", ...env },
      stdio: ["pipe", "pipe", "inherit"],
    });
    const address = await new Promise<string>((resolve, reject) => {
      createInterface({ input: child.stdout }).on("line", (line) => {
        if (line.startsWith('{"ready"')) resolve((JSON.parse(line) as { address: string }).address);
      });
      child.once("exit", (code) => reject(new Error(`${service} ended with ${code} before it was ready`)));
    });
    return new Child(child, address);
  }

  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exit = once(this.#process, "exit");
    this.#process.kill(signal);
    await exit;
  }
}

/** Fields of a configuration. */
export type ConfigInit = Exclude<MessageInitShape<typeof TrainingConfigSchema>, TrainingConfig>;

/** A running inference service and a folder for everything else. */
export class System {
  readonly root: string;
  readonly corpus: string;
  #inference: Child;

  private constructor(root: string, inference: Child, corpus: string) {
    this.root = root;
    this.#inference = inference;
    this.corpus = corpus;
  }

  static async start(documents = 600): Promise<System> {
    const root = await mkdtemp(join(tmpdir(), "training-"));
    const corpus = join(root, "corpus.jsonl");
    await writeFile(corpus, madeText(documents));
    return new System(root, await startInference(root, "127.0.0.1:0"), corpus);
  }

  /** kill -9 of the inference service; another one takes its place at the same address. */
  async replaceInference(): Promise<void> {
    await this.#inference.kill();
    this.#inference = await startInference(this.root, this.#inference.address);
  }

  get inferenceAddress(): string {
    return this.#inference.address;
  }

  async training(data: string, env: Readonly<Record<string, string>> = {}): Promise<Child> {
    return await Child.start("training", {
      MISTRAL_SAE_DATA: join(this.root, data),
      MISTRAL_SAE_INFERENCE: this.#inference.address,
      MISTRAL_SAE_THREADS: "2",
      MISTRAL_SAE_TRAINING_SHARD_MIB: "1",
      ...env,
    });
  }

  /** A run of some seconds; small numbers that still exercise every part. */
  config(over: ConfigInit = {}): ConfigInit {
    return {
      hookName: "blocks.2.hook_resid_pre",
      corpus: { uri: this.corpus },
      contextSize: 64,
      dSae: 256,
      k: 8,
      kAux: 16,
      trainBatchSizeTokens: 256,
      trainingTokens: 51_200n,
      lr: 1e-3,
      lrWarmUpSteps: 10,
      deadFeatureWindowTokens: 10_000n,
      checkpointEverySteps: 20,
      ...over,
    };
  }

  async close(): Promise<void> {
    await this.#inference.stop();
    await rm(this.root, { recursive: true, force: true });
  }
}

async function startInference(root: string, listen: string): Promise<Child> {
  return await Child.start("inference", { MISTRAL_SAE_LISTEN: listen, MISTRAL_SAE_DATA: join(root, "inference"), MISTRAL_SAE_MODELS: `demo=${demoModelDir}` });
}

export function trainingClient(child: Child): Client<typeof TrainingService> {
  return createClient(TrainingService, child.address);
}

export function operationClient(child: Child): Client<typeof OperationService> {
  return createClient(OperationService, child.address);
}

/** Follows a run until `until` holds. @returns The run then, and all metrics that came. */
export async function follow(
  client: Client<typeof TrainingService>,
  name: string,
  until: (run: TrainingRun) => boolean,
  afterStep = 0n,
): Promise<{ readonly run: TrainingRun; readonly metrics: TrainingMetrics[] }> {
  const metrics: TrainingMetrics[] = [];
  let run: TrainingRun | undefined;
  for await (const message of client.watchTrainingRun({ name, afterStep })) {
    run = message.trainingRun;
    metrics.push(...message.metrics);
    if (run !== undefined && until(run)) return { run, metrics };
    if (run !== undefined && ended(run)) break;
  }
  throw new Error(`${name} ended in state ${run?.state}: ${run?.stateDetail}`);
}

export function succeeded(run: TrainingRun): boolean {
  return run.state === TrainingRunState.SUCCEEDED;
}

function ended(run: TrainingRun): boolean {
  return run.state >= TrainingRunState.PAUSED;
}

const NAMES = ["Lily", "Tom", "Anna", "Ben", "Mia", "Sam"];
const THINGS = ["a red ball", "the big tree", "a small boat", "the old house", "a shiny stone", "the green garden", "a loud drum"];
const DEEDS = ["found", "looked at", "played with", "drew", "talked about", "dreamed of", "ran around"];
const MOODS = ["happy", "sad", "tired", "proud", "curious", "brave"];

/** Text of our own that always comes out the same: sentences of a few parts, numbered by a simple generator. */
function madeText(documents: number): string {
  let state = 12_345;
  const pick = (words: readonly string[]): string => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return words[(state >>> 8) % words.length] ?? "";
  };
  const lines = Array.from({ length: documents }, (_, index) => {
    const sentences = Array.from({ length: 6 + (index % 9) }, () => `${pick(NAMES)} ${pick(DEEDS)} ${pick(THINGS)} and was ${pick(MOODS)}.`);
    return JSON.stringify({ text: `Story ${index}. ${sentences.join(" ")}`, source: index % 3 === 0 ? "third" : "others" });
  });
  return `${lines.join("\n")}\n`;
}
