import { fileURLToPath } from "node:url";
import { readModelConfig } from "@mistral-sae/model";
import type { CellShape, PeerName } from "./cells.ts";
import { startServiceContender, type ServiceContender } from "./capture.ts";
import { type LineProcess, startLineProcess } from "./line-process.ts";
import { llamaBench } from "./llama-bench.ts";
import type { BenchModels } from "./models.ts";
import type { Contender, Precision } from "./work.ts";

const ours = fileURLToPath(new URL("./ours.ts", import.meta.url));
const transformersJs = fileURLToPath(new URL("./transformers-js.ts", import.meta.url));
const transformers = fileURLToPath(new URL("../../peers/inference/serve.py", import.meta.url));

/** What contenders are made of. */
export interface Setup {
  readonly models: BenchModels;
  readonly threads: number;
  /** Python with the peers. */
  readonly python: string | undefined;
  /** Path of llama-bench. */
  readonly llamaBench: string | undefined;
  /** Folder where @huggingface/transformers is installed. */
  readonly transformersJs: string | undefined;
  readonly peers: ReadonlySet<string>;
}

/** Contenders at one model and precision; a peer is started when it is first asked for. */
export class Contenders implements AsyncDisposable {
  readonly engine: LineProcess;
  readonly #setup: Setup;
  readonly #shape: CellShape;
  readonly #precision: Precision;
  readonly #peers = new Map<string, Contender | string>();
  readonly #processes: AsyncDisposable[] = [];
  #service: ServiceContender | undefined;

  private constructor(engine: LineProcess, setup: Setup, shape: CellShape, precision: Precision) {
    this.engine = engine;
    this.#setup = setup;
    this.#shape = shape;
    this.#precision = precision;
    this.#processes.push(engine);
  }

  /** Starts this project's engine in a process of its own. */
  static async start(setup: Setup, shape: CellShape, precision: Precision): Promise<Contenders> {
    const engine = await startLineProcess("mistral-sae", process.execPath, [ours, await setup.models.folder(shape, precision), String(setup.threads)]);
    return new Contenders(engine, setup, shape, precision);
  }

  /** The inference service with this model, in a process of its own. */
  async service(): Promise<Contender> {
    if (this.#service === undefined) {
      const folder = await this.#setup.models.folder(this.#shape);
      const { dVocab } = await readModelConfig(folder);
      this.#service = await startServiceContender(folder, this.#setup.threads, dVocab);
      this.#processes.push(this.#service);
    }
    return this.#service;
  }

  /** A peer, or why there is none. */
  async peer(name: PeerName): Promise<Contender | string> {
    let peer = this.#peers.get(name);
    if (peer === undefined) {
      peer = await this.#start(name).catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
      this.#peers.set(name, peer);
    }
    return peer;
  }

  async #start(name: PeerName): Promise<Contender | string> {
    const { models, threads, python, llamaBench: binary, transformersJs: folder } = this.#setup;
    if (python === undefined) return "no Python with the peers: give --python or $MISTRAL_SAE_BENCH_PYTHON (tools/bench/README.md says how to make one)";
    if (name === "llama.cpp") {
      if (binary === undefined) return "no llama-bench: give --llama-bench or $MISTRAL_SAE_BENCH_LLAMA_BENCH (tools/bench/README.md says how to build it)";
      return await llamaBench(binary, await models.gguf(this.#shape, this.#precision, python), threads);
    }
    if (name === "transformers.js" && folder === undefined) return "not installed: give --transformers-js or $MISTRAL_SAE_BENCH_TRANSFORMERS_JS (tools/bench/README.md)";
    const [command, args] =
      name === "transformers"
        ? [python, [transformers, "--model", await models.folder(this.#shape), "--threads", String(threads)]]
        : [process.execPath, [transformersJs, folder ?? "", await models.onnx(this.#shape, this.#precision, python), String(threads)]];
    const peer = await startLineProcess(name, command, args);
    this.#processes.push(peer);
    return peer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const process of this.#processes) await process[Symbol.asyncDispose]();
  }
}
