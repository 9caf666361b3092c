/**
 * Indexes that are built while ClickHouse is killed with SIGKILL at random instants, against one that is built undisturbed:
 *
 *     node tools/check/src/acceptance/kill-clickhouse.ts [kills] [documents]
 *
 * Meanwhile a client stores explanations one by one and asks for pages: what it was told is stored has to be there once at the end,
 * and every failure has to be UNAVAILABLE with a time to come back. Ends with 1, keeping its folder, when a table differs, an
 * acknowledged row is missing or double, or a client is told something else.
 */
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { type Client, Code, createClient, RpcError } from "@mistral-sae/rpc";
import { NOISE_SAE, startWithNoiseSae } from "./noise-sae.ts";
import { writeSampleCorpus } from "./sample-corpus.ts";
import { ServiceProcess } from "./service-process.ts";

const [kills = 20, documents = 1500] = process.argv.slice(2).map(Number);
const CONTEXT = 64;

const folder = await mkdtemp(join(tmpdir(), "kill-clickhouse-"));
const corpus = join(folder, "corpus.jsonl");
await writeSampleCorpus(corpus, documents);
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
    await run.#index.createCorpus({ corpusId: "sample", source: { uri: corpus }, contextSize: CONTEXT });
    run.#operation = (await run.#index.indexCorpus({ sae: NOISE_SAE.name, corpus: "corpora/sample" })).operation?.name ?? "";
    return run;
  }

  get running(): boolean {
    return !this.#ended;
  }

  /** Resolves when the index is built, or fails with the operation's error. */
  async finished(): Promise<void> {
    try {
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

  /** Repeats a call until it is answered; notes what it was told meanwhile. */
  async #insist(call: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await call();
      } catch (error) {
        const { code, reason, retryDelayMs } = error instanceof RpcError ? error : { code: undefined, reason: String(error), retryDelayMs: undefined };
        const what = code === Code.Unavailable && reason === "CLICKHOUSE_UNAVAILABLE" && retryDelayMs !== undefined ? "UNAVAILABLE with a time to come back" : `wrong: ${code} ${reason} ${String(error)}`;
        this.told[what] = (this.told[what] ?? 0) + 1;
        await sleep(retryDelayMs ?? 100);
      }
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
