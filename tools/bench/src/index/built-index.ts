import { createWriteStream, existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { FeatureIndexSchema, FeatureIndexService, IndexState } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type Operation, OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { type Client, createClient } from "@mistral-sae/rpc";
import { ServiceProcess } from "../inference/service-process.ts";
import { SAE, type SyntheticPeer, startSyntheticPeer } from "./peer.ts";
import { type Shape, SyntheticText, tokenText } from "./synthetic.ts";

/** What is built. */
export interface BuildOptions {
  /** Keeps the data between runs. */
  readonly folder: string;
  /** About so many; whole documents. */
  readonly activations: number;
  readonly shape: Shape;
  readonly threads: number;
  readonly log: (line: string) => void;
}

/** The feature-index service in a process of its own with one index of synthetic codes, and the peer that it asks. */
export class BuiltIndex implements AsyncDisposable {
  readonly service: ServiceProcess;
  readonly peer: SyntheticPeer;
  readonly index: Client<typeof FeatureIndexService>;
  readonly operations: Client<typeof OperationService>;
  readonly shape: Shape;
  /** Holds `data`, the service's own folder, and whatever contenders need. */
  readonly folder: string;
  /** indexes/{index}. */
  name = "";
  nActivations = 0;
  nTokens = 0;
  tableBytes: Readonly<Record<string, number>> = {};

  private constructor(service: ServiceProcess, peer: SyntheticPeer, { shape, folder }: BuildOptions) {
    this.service = service;
    this.peer = peer;
    this.index = createClient(FeatureIndexService, service.address);
    this.operations = createClient(OperationService, service.address);
    this.shape = shape;
    this.folder = folder;
  }

  /** Builds the index, or opens what a former run has built. */
  static async open(options: BuildOptions): Promise<BuiltIndex> {
    const { shape, activations, log } = options;
    const folder = join(options.folder, `${activations}x${shape.k}of${shape.dSae}`);
    await mkdir(folder, { recursive: true });
    const peer = await startSyntheticPeer(shape);
    let built: BuiltIndex | undefined;
    try {
      const service = await ServiceProcess.start("feature-index", { MISTRAL_SAE_DATA: join(folder, "data"), MISTRAL_SAE_INFERENCE: peer.address, MISTRAL_SAE_THREADS: String(options.threads) });
      built = new BuiltIndex(service, peer, { ...options, folder });
      await built.#build(activations, log);
      return built;
    } catch (error) {
      await built?.service[Symbol.asyncDispose]();
      await peer.close(100);
      throw error;
    }
  }

  async #build(activations: number, log: (line: string) => void): Promise<void> {
    const state = join(this.folder, "bench.json");
    const known = async () => (await this.index.listIndexes({ withTableChecksums: false })).indexes.find((index) => index.state === IndexState.READY);
    if ((await known()) === undefined) {
      const corpus = join(this.folder, "corpus");
      if (!existsSync(state)) await writeCorpus(corpus, this.shape, Math.ceil(activations / this.shape.k));
      await this.index.createCorpus({ corpusId: "bench", source: { uri: corpus }, contextSize: this.shape.contextSize, requestId: "bench" });
      await writeFile(state, "{}");
      const began = performance.now();
      const { operation } = await this.index.indexCorpus({ sae: SAE, corpus: "corpora/bench", requestId: "bench" });
      fromBinary(FeatureIndexSchema, (await this.response(operation, log)).value);
      const seconds = (performance.now() - began) / 1000;
      const { indexes } = await this.index.listIndexes({ withTableChecksums: true });
      await writeFile(state, JSON.stringify({ seconds, tableBytes: Object.fromEntries(Object.entries(indexes[0]?.tableBytes ?? {}).map(([table, n]) => [table, Number(n)])) }));
      await rm(corpus, { recursive: true });
    }
    const index = await known();
    if (index === undefined) throw new Error("no index is ready");
    const { seconds, tableBytes } = JSON.parse(await readFile(state, "utf8")) as { readonly seconds: number; readonly tableBytes: Readonly<Record<string, number>> };
    this.name = index.name;
    this.nActivations = Number(index.nActivations);
    this.nTokens = Number(index.nTokens);
    this.tableBytes = tableBytes;
    log(`${this.nActivations.toLocaleString("en-US")} activations on ${this.nTokens.toLocaleString("en-US")} tokens, indexed and built in ${seconds.toFixed(0)} s`);
  }

  /** What an operation ends with. @throws Error with its own message. */
  async response(operation: Operation | undefined, log: (line: string) => void) {
    let stage = "";
    let last = operation;
    for await (const { operation: next } of this.operations.watchOperation({ name: operation?.name ?? "" })) {
      last = next;
      const now = next?.progress?.stage ?? "";
      if (now !== stage) log(`  ${now}`);
      stage = now;
    }
    if (last?.result.case !== "response") throw new Error(`${last?.kind} ended without a result: ${last?.result.case === "error" ? last.result.value.message : `state ${last?.state ?? 0}`}`);
    return last.result.value;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.service[Symbol.asyncDispose]();
    await this.peer.close(100);
  }
}

/** Documents with at least `tokens` tokens in all, as jsonl. */
async function writeCorpus(folder: string, shape: Shape, tokens: number): Promise<void> {
  await mkdir(folder, { recursive: true });
  const text = new SyntheticText(shape);
  const out = createWriteStream(join(folder, "part-0.jsonl"));
  for (let doc = 0, left = tokens; left > 0; doc++) {
    const ids = text.document(doc);
    left -= ids.length;
    const line = `${JSON.stringify({ text: Array.from(ids, (id) => tokenText(id).trim()).join(" "), source: doc % 3 === 0 ? "books" : "web" })}\n`;
    if (!out.write(line)) await once(out, "drain");
  }
  out.end();
  await once(out, "close");
}
