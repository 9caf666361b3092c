import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ClickHouse } from "@mistral-sae/clickhouse";
import { FeatureIndexService, QueryFormat } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type FeatureIndex, featureIndexDefaults, openFeatureIndex } from "@mistral-sae/feature-index";
import { type Client, Code, createClient, RpcError, startServer } from "@mistral-sae/rpc";
import { type HostileCase, hostileCases } from "./hostile-sql-cases.ts";

/** What came of hostile queries. */
export interface HostileSummary {
  readonly cases: number;
  /** Those that gave rows, and those that were refused or broken off, by the code. */
  readonly answered: number;
  readonly refused: Readonly<Record<string, number>>;
  readonly slowestMs: number;
  /** What must not have happened, with the query. */
  readonly faults: readonly string[];
}

/** How hostile queries are run. */
export interface HostileOptions {
  readonly cases: number;
  readonly seed: number;
  /** One in so many is only meant to be costly. */
  readonly bombEvery?: number;
  readonly progress?: (done: number) => void;
}

const LIMITS = { maxExecutionSeconds: 1, maxResultRows: 10_000, maxResultBytes: 4 << 20, maxMemoryBytes: 256 << 20 };
const AT_A_TIME = 4;
// A query is stopped between its blocks: longer than this and it has outlived its second.
const LONGEST_MS = 8_000;
const CODES_OF_REFUSAL: ReadonlySet<Code> = new Set([Code.InvalidArgument, Code.PermissionDenied, Code.ResourceExhausted, Code.DeadlineExceeded, Code.NotFound]);

/**
 * Sends hostile queries through the service's own port, over an embedded ClickHouse with a few rows, and looks at what they
 * reached: tables, files with secrets, a listener, system tables, time.
 */
export async function runHostileSql({ cases, seed, bombEvery, progress }: HostileOptions): Promise<HostileSummary> {
  const place = await HostilePlace.open();
  try {
    const before = await place.state();
    const tally = new Tally(place);
    const queue = hostileCases({ file: place.secretFile, folder: place.outFolder, url: place.url }, cases, seed, bombEvery)[Symbol.iterator]();
    const worker = async () => {
      for (let next = queue.next(); next.done !== true; next = queue.next()) {
        await tally.run(next.value);
        if (tally.done % 500 === 0) progress?.(tally.done);
      }
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, worker));
    const faults = [...tally.faults, ...(await place.leftRunning())];
    const after = await place.state();
    for (const [what, value] of Object.entries(before)) if (after[what] !== value) faults.push(`${what}: ${String(after[what])}, before ${String(value)}`);
    return { cases: tally.done, answered: tally.answered, refused: tally.refused, slowestMs: Math.round(tally.slowestMs), faults };
  } finally {
    await place.close();
  }
}

class Tally {
  readonly #place: HostilePlace;
  readonly refused: Record<string, number> = {};
  readonly faults: string[] = [];
  answered = 0;
  done = 0;
  slowestMs = 0;

  constructor(place: HostilePlace) {
    this.#place = place;
  }

  async run(hostile: HostileCase): Promise<void> {
    const started = performance.now();
    let said = "";
    try {
      const format = this.done % 5 === 0 ? QueryFormat.ARROW_STREAM : QueryFormat.JSON_ROWS;
      const pieces = this.#place.client.query({ ...hostile, format, maxRows: BigInt(this.done % 3 === 0 ? 5 : 0) }, { signal: AbortSignal.timeout(60_000) });
      for await (const { data } of pieces) said += said.length < 1 << 20 ? Buffer.from(data).toString() : "";
      this.answered += 1;
    } catch (error) {
      const code = error instanceof RpcError ? error.code : undefined;
      const name = code === undefined ? "not sent" : (Code[code] ?? String(code));
      this.refused[name] = (this.refused[name] ?? 0) + 1;
      if (code !== undefined && !CODES_OF_REFUSAL.has(code)) this.#fault(hostile, `ended with ${name}: ${String(error).slice(0, 300)}`);
      if (String(error).includes(this.#place.secret)) this.#fault(hostile, "told the secret in its error");
    }
    const took = performance.now() - started;
    this.slowestMs = Math.max(this.slowestMs, took);
    if (took > LONGEST_MS) this.#fault(hostile, `took ${Math.round(took)} ms`);
    // What the query itself spells out it may get back.
    const own = `${hostile.sql} ${Object.values(hostile.parameters).join(" ")}`;
    for (const marker of this.#place.markers) if (said.includes(marker) && !own.includes(marker)) this.#fault(hostile, `told ${JSON.stringify(marker)}`);
    this.done += 1;
  }

  #fault({ sql, parameters }: HostileCase, what: string): void {
    this.faults.push(`${what}: ${JSON.stringify(sql.slice(0, 400))} ${JSON.stringify(parameters)}`);
  }
}

/** A service over a few rows, secrets beside it, and a listener that nobody may call. */
class HostilePlace {
  readonly secret: string = `secret-${randomBytes(12).toString("hex")}`;
  readonly folder: string;
  readonly secretFile: string;
  readonly outFolder: string;
  readonly url: string;
  readonly client: Client<typeof FeatureIndexService>;
  readonly #service: FeatureIndex;
  readonly #owner: ClickHouse;
  readonly #listener: Server;
  readonly #stop: () => Promise<void>;
  #connections = 0;

  static async open(): Promise<HostilePlace> {
    const folder = mkdtempSync(join(tmpdir(), "hostile-sql-"));
    const listener = createServer((socket) => socket.destroy());
    await new Promise<void>((listening) => listener.listen(0, "127.0.0.1", listening));
    const service = await openFeatureIndex({ ...featureIndexDefaults, data: join(folder, "data"), inference: "127.0.0.1:1", threads: 2, maxQueries: AT_A_TIME + 1, queryLimits: LIMITS });
    const server = await startServer({ listen: "127.0.0.1:0", services: service.services, reflection: false });
    const place = new HostilePlace(folder, service, listener, server.address, () => server.close(1_000));
    await place.#fill();
    return place;
  }

  private constructor(folder: string, service: FeatureIndex, listener: Server, address: string, stop: () => Promise<void>) {
    this.folder = folder;
    this.#service = service;
    this.#listener = listener;
    this.#stop = stop;
    listener.on("connection", () => (this.#connections += 1));
    const bound = listener.address();
    this.url = `http://127.0.0.1:${typeof bound === "object" && bound !== null ? bound.port : 0}`;
    this.client = createClient(FeatureIndexService, address);
    this.#owner = new ClickHouse({ url: service.server.url, login: service.server.owner });
    this.outFolder = join(folder, "data", "clickhouse", "data", "user_files");
    this.secretFile = join(this.outFolder, "secret.csv");
    mkdirSync(this.outFolder, { recursive: true });
    for (const file of [this.secretFile, join(folder, "secret.csv"), join(folder, "data", "secret.csv")]) writeFileSync(file, `${this.secret}\n`);
  }

  /** What only files, other tables, or system tables hold. */
  get markers(): readonly string[] {
    return [this.secret, this.folder, "sha256_password", "join_algorithm", "toStartOfFifteenMinutes", "AggregatingMergeTree", "USER_DEFINED_TYPE", "Europe/Amsterdam", "TabSeparatedWithNamesAndTypes", "hidden_rows"];
  }

  async #fill(): Promise<void> {
    const run = async (sql: string) => await this.#owner.command(sql);
    await run(`CREATE TABLE mistral_sae.hidden_rows (a String) ENGINE = MergeTree ORDER BY a AS SELECT '${this.secret}' AS a`);
    await run("INSERT INTO mistral_sae.index_names SELECT 1, 'indexes/a', 'models/m/saes/s', 'corpora/c', 'models/m', 1, 1, 1, 200, 16, 100000, 0, 0, 0, 0");
    await run("INSERT INTO mistral_sae.corpus_names SELECT 1, 'corpora/c', 0, 0");
    await run("INSERT INTO mistral_sae.postings (index_id, is_special, feature_index, block, n, max_activation, pos, acts) SELECT 1, 0, intDiv(number, 4), number % 4, 50, 9, arrayMap(x -> x * 9, range(50)), arrayMap(x -> toBFloat16(x), range(50)) FROM numbers(800)");
    await run("INSERT INTO mistral_sae.features (index_id, feature_index, n_firings, max_activation, top_tokens) SELECT 1, number, number, 9, ['a'] FROM numbers(200)");
    await run("INSERT INTO mistral_sae.documents (corpus_id, doc_id, source, text) SELECT 1, number, 'web', 'some text' FROM numbers(100)");
  }

  /** Everything that a query could have changed. */
  async state(): Promise<Record<string, string | number | undefined>> {
    const objects = await this.#owner.rows<{ name: string; rows: string; sql: string }>(
      "SELECT concat(database, '.', name) AS name, toString(total_rows) AS rows, create_table_query AS sql FROM system.tables WHERE database NOT IN ('system', 'INFORMATION_SCHEMA', 'information_schema') ORDER BY name",
    );
    const sums: string[] = [];
    for (const { name } of objects.filter(({ name: table }) => table.startsWith("mistral_sae."))) {
      sums.push(`${name} ${(await this.#owner.row<{ sum: string }>(`SELECT toString(sum(sipHash64(*))) AS sum FROM ${name}`)).sum}`);
    }
    const names = async (sql: string) => (await this.#owner.rows<{ name: string }>(sql)).map(({ name }) => name).join(" ");
    return {
      objects: JSON.stringify(objects),
      checksums: sums.join(", "),
      databases: await names("SELECT name FROM system.databases ORDER BY name"),
      users: await names("SELECT name FROM system.users ORDER BY name"),
      files: readdirSync(this.outFolder).toSorted().join(" "),
      connections: this.#connections,
      process: this.#service.server.pid,
    };
  }

  /** Queries of users that are still running a while after the last one was answered. */
  async leftRunning(): Promise<string[]> {
    const sql = "SELECT query FROM system.processes WHERE user = 'analyst'";
    for (let attempt = 0; attempt < 20; attempt++) {
      if ((await this.#owner.rows(sql)).length === 0) return [];
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    return (await this.#owner.rows<{ query: string }>(sql)).map(({ query }) => `still running: ${query.slice(0, 300)}`);
  }

  async close(): Promise<void> {
    await this.#owner.close();
    await this.#stop();
    await this.#service.close();
    this.#listener.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

// node tools/check/src/acceptance/hostile-sql.ts [cases] [seed]
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [cases = 10_000, seed = 1] = process.argv.slice(2).map(Number);
  const summary = await runHostileSql({ cases, seed, progress: (done) => process.stderr.write(`${done}\n`) });
  process.stdout.write(`${JSON.stringify({ ...summary, nFaults: summary.faults.length }, undefined, 2)}\n`);
  process.exitCode = summary.faults.length > 0 ? 1 : 0;
}
