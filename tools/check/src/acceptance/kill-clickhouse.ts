/**
 * Indexes that are built while ClickHouse is killed with SIGKILL at random instants, against one that is built undisturbed:
 *
 *     node tools/check/src/acceptance/kill-clickhouse.ts [kills] [size] [corpus|codes]
 *
 * `corpus`: IndexCorpus over so many documents. `codes`: IngestActivations of so many synthetic chunks, then FinishIndex. Meanwhile a client stores explanations one by one and asks for pages: what it was told is stored has to be there once at the end,
 * and every failure has to be UNAVAILABLE with a time to come back. Ends with 1, keeping its folder, when a table differs, an
 * acknowledged row is missing or double, or a client is told something else.
 */
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { FeatureIndexService, type IngestActivationsRequestSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { type Client, Code, createClient, RpcError } from "@mistral-sae/rpc";
import { NOISE_SAE, startWithNoiseSae } from "./noise-sae.ts";
import { writeSampleCorpus } from "./sample-corpus.ts";
import { ServiceProcess } from "./service-process.ts";

const [kills = 20, size = 1500] = process.argv.slice(2, 4).map(Number);
const workload = process.argv[4] ?? "corpus";
const CONTEXT = 64;

type Chunk = MessageInitShape<typeof IngestActivationsRequestSchema>;
const INDEX = "indexes/sample";
const WINDOWS = 64;
const BOS_ALONE = Uint8Array.from({ length: CONTEXT / 8 }, (_, i) => Number(i === 0));

/** Synthetic chunks of one shard, the same ones whenever they are asked for. */
async function* chunksFrom(first: number): AsyncIterable<Chunk> {
  const { dSae, k } = NOISE_SAE;
  const nTokens = WINDOWS * CONTEXT;
  for (let seq = first; seq < size; seq++) {
    let state = seq + 1;
    const draw = (below: number) => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) % below;
    const sequences = Array.from({ length: WINDOWS }, () => ({ tokenIds: Array.from({ length: CONTEXT }, () => 5 + draw(400)), isSpecial: BOS_ALONE }));
    const indices = new Uint32Array(nTokens * k);
    const acts = new Uint16Array(nTokens * k);
    for (let token = 0; token < nTokens; token++) {
      const start = draw(dSae);
      for (let i = 0; i < k; i++) {
        indices[token * k + i] = (start + i * 61) % dSae;
        // bfloat16, descending from about 16.
        acts[token * k + i] = 0x4180 - 4 * i - draw(4);
      }
    }
    const code = { nTokens, k, dSae, featureIndices: new Uint8Array(indices.buffer), activations: new Uint8Array(acts.buffer), activationDtype: DataType.BF16 };
    yield { index: INDEX, shard: 0, seq: BigInt(seq), sequences, docIds: sequences.map((_, i) => BigInt(seq * WINDOWS + i)), code };
    await sleep(0);
  }
}

async function* oneOf(chunk: Chunk): AsyncIterable<Chunk> {
  yield await Promise.resolve(chunk);
}

const folder = await mkdtemp(join(tmpdir(), "kill-clickhouse-"));
const corpus = join(folder, "corpus.jsonl");
if (workload === "corpus") await writeSampleCorpus(corpus, size);
const inference = await startWithNoiseSae(folder);

interface Outcome {
  readonly checksums: Readonly<Record<string, string>>;
  readonly nActivations: bigint;
  readonly nFeaturesAlive: bigint;
}

/** A feature-index service over its own folder, and what its clients saw. */
class Run {
  readonly #service: ServiceProcess;
  readonly #data: string;
  readonly #index: Client<typeof FeatureIndexService>;
  readonly #operations: Client<typeof OperationService>;
  /** Explanations whose storing was acknowledged. */
  readonly stored: string[] = [];
  /** What clients were told instead of an answer, by what it was, and how often. */
  readonly told: Record<string, number> = {};
  #operation = "";
  #ended = false;

  private constructor(service: ServiceProcess, data: string) {
    this.#service = service;
    this.#data = data;
    this.#index = createClient(FeatureIndexService, service.address);
    this.#operations = createClient(OperationService, service.address);
  }

  /** Starts a service and begins an index of the corpus. */
  static async begin(data: string): Promise<Run> {
    const run = new Run(await ServiceProcess.start("feature-index", data, { MISTRAL_SAE_INFERENCE: inference.address, MISTRAL_SAE_THREADS: "2" }), data);
    if (workload === "codes") await run.#index.createIndex({ indexId: "sample", sae: NOISE_SAE.name, corpusId: "sample", contextSize: CONTEXT });
    else {
      await run.#index.createCorpus({ corpusId: "sample", source: { uri: corpus }, contextSize: CONTEXT });
      run.#operation = (await run.#index.indexCorpus({ sae: NOISE_SAE.name, corpus: "corpora/sample" })).operation?.name ?? "";
    }
    return run;
  }

  get running(): boolean {
    return !this.#ended;
  }

  /** Resolves when the index is built, or fails with the operation's error. */
  async finished(): Promise<void> {
    try {
      if (workload === "codes") await this.#ingest();
      for (;;) {
        const { operation } = await this.#operations.getOperation({ name: this.#operation });
        if (operation?.done !== true) await sleep(50);
        else if (operation.result.case === "response") return;
        else throw new Error(`the operation failed: ${operation.result.case === "error" ? operation.result.value.message : operation.state}`);
      }
    } finally {
      this.#ended = true;
    }
  }

  /** Stores explanations and asks for pages until the index is built, and once more after that. */
  async disturb(): Promise<void> {
    for (let n = 0, last = false; !last; n++) {
      last = this.#ended;
      const feature = `${NOISE_SAE.name}/features/${n % NOISE_SAE.dSae}`;
      const name = `${feature}/explanations/${n}`;
      await this.#insist(async () => {
        await this.#index.putExplanations({ entries: [{ feature, summary: { name, description: `number ${n}`, explanationType: "summary" } }] });
        this.stored.push(name);
      });
      await this.#insist(async () => void (await this.#sql("SELECT count() AS n FROM explanations")));
      await sleep(20);
    }
  }

  /** SIGKILL for ClickHouse, and waits until its successor's process is there. */
  async kill(): Promise<void> {
    const pid = this.#clickhouse();
    process.kill(pid, "SIGKILL");
    while (this.#clickhouse() === pid) await sleep(5);
  }

  async outcome(): Promise<Outcome> {
    const { indexes } = await this.#index.listIndexes({ withTableChecksums: true });
    const [index] = indexes;
    if (indexes.length !== 1 || index === undefined) throw new Error(`got ${indexes.length} indexes, wanted 1`);
    return { checksums: index.tableChecksums, nActivations: index.nActivations, nFeaturesAlive: index.nFeaturesAlive };
  }

  /** Acknowledged explanations that are not there, and rows that are there more than once. */
  async wrongExplanations(): Promise<readonly string[]> {
    const rows = (await this.#sql("SELECT name, count() AS n FROM explanations GROUP BY name")).trim().split("\n").map((line) => JSON.parse(line) as { readonly name: string; readonly n: number });
    const there = new Map(rows.map(({ name, n }) => [name, n]));
    return [...this.stored.filter((name) => there.get(name) !== 1), ...rows.filter(({ n }) => n !== 1).map(({ name }) => name)];
  }

  async stop(): Promise<void> {
    await this.#service.stop();
  }

  /** Sends the chunks, each time from the one after the last that is committed, and has the index finished. */
  async #ingest(): Promise<void> {
    let next = 0;
    const goOn = async (chunks: AsyncIterable<Chunk>) => {
      const { committedSeq } = await this.#index.ingestActivations(chunks);
      const from = Number(committedSeq[0] ?? -1n) + 1;
      if (from < next) throw new Error(`chunk ${next - 1} was committed, and ${from - 1} is the last now`);
      next = from;
    };
    do await this.#insist(async () => await goOn(oneOf({ index: INDEX })));
    while (!(await this.#attempt(async () => await goOn(chunksFrom(next)))));
    await this.#insist(async () => void (this.#operation = (await this.#index.finishIndex({ name: INDEX })).operation?.name ?? ""));
  }

  /** Repeats a call until it is answered. */
  async #insist(call: () => Promise<void>): Promise<void> {
    while (!(await this.#attempt(call)));
  }

  /** Whether a call was answered; otherwise notes what it was told, and waits as long as that says. */
  async #attempt(call: () => Promise<void>): Promise<boolean> {
    try {
      await call();
      return true;
    } catch (error) {
      const { code, reason, retryDelayMs } = error instanceof RpcError ? error : { code: undefined, reason: "", retryDelayMs: undefined };
      const isAway = code === Code.Unavailable && reason === "CLICKHOUSE_UNAVAILABLE" && retryDelayMs !== undefined;
      const what = isAway ? "UNAVAILABLE with a time to come back" : `wrong: ${code} ${reason} ${String(error)}`;
      this.told[what] = (this.told[what] ?? 0) + 1;
      await sleep(retryDelayMs ?? 100);
      return false;
    }
  }

  async #sql(sql: string): Promise<string> {
    const parts: string[] = [];
    for await (const { data } of this.#index.query({ sql })) parts.push(new TextDecoder().decode(data));
    return parts.join("");
  }

  #clickhouse(): number {
    const { server } = JSON.parse(readFileSync(join(this.#data, "clickhouse/server.pid"), "utf8")) as { readonly server: readonly { readonly pid: number }[] };
    return server[0]?.pid ?? 0;
  }
}

const begun = performance.now();
const quiet = await Run.begin(join(folder, "undisturbed"));
await quiet.finished();
const seconds = (performance.now() - begun) / 1000;
const wanted = await quiet.outcome();
await quiet.stop();
console.log("undisturbed", `${seconds.toFixed(1)} s`, `${wanted.nActivations} activations`, wanted.checksums);

let wrong = 0;
let killed = 0;
for (let round = 0; killed < kills; round++) {
  const data = join(folder, `round-${round}`);
  const run = await Run.begin(data);
  const finished = run.finished();
  const disturbed = run.disturb();
  const afterMs: number[] = [];
  while (killed < kills) {
    const gap = Math.random() * 250 * seconds;
    await Promise.race([sleep(gap), finished.catch(() => undefined)]);
    if (!run.running) break;
    await run.kill();
    killed++;
    afterMs.push(Math.round(gap));
  }
  const failed = await finished.then(() => undefined, String);
  await disturbed;
  const outcome = failed ?? (await run.outcome());
  const explanations = await run.wrongExplanations();
  await run.stop();
  const others = Object.keys(run.told).filter((what) => what.startsWith("wrong"));
  const same = isDeepStrictEqual(outcome, wanted) && explanations.length === 0 && others.length === 0;
  if (!same) wrong++;
  console.log(same ? "same" : `DIFFERENT, kept in ${data}`, `${afterMs.length} kills, each after ${afterMs.join(", ")} ms; ${run.stored.length} explanations acknowledged;`, run.told, same ? "" : { outcome, explanations });
  if (same) await rm(data, { recursive: true });
}
await inference.stop();
if (wrong === 0) await rm(folder, { recursive: true });
process.exitCode = wrong === 0 ? 0 : 1;
