import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync, type SQLOutputValue, type StatementSync } from "node:sqlite";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { TrainingConfigSchema, type TrainingConfig } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import { SaeEvaluationSchema, TrainingMetricsSchema, type SaeEvaluation, type TrainingMetrics } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import type { ModelFacts } from "./model-facts.ts";

/** What never changes of a run. */
export interface RunFacts {
  readonly id: string;
  /** Hash of everything that decides the weights. */
  readonly identity: string;
  /** What was asked for. */
  readonly asked: TrainingConfig;
  /** The same with every default filled in. */
  readonly config: TrainingConfig;
  readonly model: ModelFacts;
  /** Fingerprint of the corpus as it was when the run was made. */
  readonly corpus: string;
}

/** A run as the catalogue holds it; its state is that of its operation. */
export interface RunRow extends RunFacts {
  readonly seq: number;
  readonly requestId: string | undefined;
  /** Id of the sweep that the run belongs to; empty for a run of its own. */
  readonly sweep: string;
  readonly tokensHarvested: number;
  readonly tokensToHarvest: number;
  readonly evaluation: SaeEvaluation | undefined;
  readonly saeUri: string;
  readonly weightsSha256: string;
  /** Ended for good by StopTrainingRun. */
  readonly stopped: boolean;
  readonly createMs: number;
  readonly updateMs: number;
}

/** The row that a run would have. */
export function draftOf(facts: RunFacts, sweep = ""): RunRow {
  const now = Date.now();
  return { ...facts, seq: 0, requestId: undefined, sweep, tokensHarvested: 0, tokensToHarvest: 0, evaluation: undefined, saeUri: "", weightsSha256: "", stopped: false, createMs: now, updateMs: now };
}

const SCHEMA = `
create table if not exists runs (
  seq integer primary key autoincrement,
  id text not null unique,
  identity text not null,
  request_id text unique,
  sweep text not null default '',
  asked blob not null,
  config blob not null,
  model text not null,
  corpus text not null,
  tokens_harvested integer not null default 0,
  tokens_to_harvest integer not null default 0,
  evaluation blob,
  sae_uri text not null default '',
  weights_sha256 text not null default '',
  stopped integer not null default 0,
  create_ms integer not null,
  update_ms integer not null,
  metrics_sent integer not null default 0,
  metrics_drop integer,
  metrics_resets integer not null default 0
) strict;
create table if not exists metrics (
  run integer not null references runs on delete cascade,
  step integer not null,
  data blob not null,
  primary key (run, step)
) strict, without rowid;
`;

/** Columns that older catalogues lack. */
const ADDED = { sweep: "text not null default ''", metrics_sent: "integer not null default 0", metrics_drop: "integer", metrics_resets: "integer not null default 0" };

/** What changes in the course of a run. */
type RunChange = Partial<Pick<RunRow, "tokensHarvested" | "tokensToHarvest" | "evaluation" | "saeUri" | "weightsSha256" | "stopped">>;

/** The catalogue of runs and their metrics, in one SQLite file. Every method is one durable transaction. */
export class RunStore {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #metricsChanged: () => void = () => undefined;

  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true });
    this.#db = new DatabaseSync(path, { enableForeignKeyConstraints: true });
    this.#db.exec("pragma journal_mode = wal; pragma synchronous = full; pragma busy_timeout = 5000;");
    this.#db.exec(SCHEMA);
    this.#addColumns();
  }

  /** Brings a catalogue that an older service made up to date. */
  #addColumns(): void {
    const known = new Set(this.#db.prepare("pragma table_info(runs)").all().map(({ name }) => name));
    for (const [name, type] of Object.entries(ADDED)) if (!known.has(name)) this.#db.exec(`alter table runs add column ${name} ${type}`);
  }

  /** For other tables of the same catalogue; closed with this store. */
  get database(): DatabaseSync {
    return this.#db;
  }

  close(): void {
    this.#statements.clear();
    this.#db.close();
  }

  /** Calls `listener` after each change of some run's metrics. */
  onMetrics(listener: () => void): void {
    this.#metricsChanged = listener;
  }

  insert(facts: RunFacts, requestId: string | undefined, sweep = ""): void {
    const now = Date.now();
    this.#prepare("insert into runs (id, identity, request_id, sweep, asked, config, model, corpus, create_ms, update_ms) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)").run(
      facts.id,
      facts.identity,
      requestId ?? null,
      sweep,
      toBinary(TrainingConfigSchema, facts.asked),
      toBinary(TrainingConfigSchema, facts.config),
      JSON.stringify(facts.model),
      facts.corpus,
      now,
      now,
    );
  }

  byId(id: string): RunRow | undefined {
    return rowOf(this.#prepare("select * from runs where id = ?").get(id));
  }

  byRequestId(requestId: string): RunRow | undefined {
    return rowOf(this.#prepare("select * from runs where request_id = ?").get(requestId));
  }

  /** Newest first, below `beforeSeq`. */
  page(limit: number, beforeSeq = Number.MAX_SAFE_INTEGER): RunRow[] {
    return this.#prepare("select * from runs where seq < ? order by seq desc limit ?")
      .all(beforeSeq, limit)
      .flatMap((columns) => rowOf(columns) ?? []);
  }

  update(id: string, change: RunChange): void {
    const { evaluation, stopped } = change;
    this.#prepare(
      `update runs set tokens_harvested = coalesce(?, tokens_harvested), tokens_to_harvest = coalesce(?, tokens_to_harvest),
         evaluation = coalesce(?, evaluation), sae_uri = coalesce(?, sae_uri), weights_sha256 = coalesce(?, weights_sha256),
         stopped = coalesce(?, stopped), update_ms = ? where id = ?`,
    ).run(
      change.tokensHarvested ?? null,
      change.tokensToHarvest ?? null,
      evaluation === undefined ? null : toBinary(SaeEvaluationSchema, evaluation),
      change.saeUri ?? null,
      change.weightsSha256 ?? null,
      stopped === undefined ? null : Number(stopped),
      Date.now(),
      id,
    );
  }

  /** The runs of a sweep, in the order in which they were made. */
  ofSweep(sweep: string): RunRow[] {
    return this.#prepare("select * from runs where sweep = ? order by seq")
      .all(sweep)
      .flatMap((columns) => rowOf(columns) ?? []);
  }

  /** Does several things or none of them. */
  transaction(work: () => void): void {
    this.#db.exec("begin immediate");
    try {
      work();
      this.#db.exec("commit");
    } catch (error) {
      this.#db.exec("rollback");
      throw error;
    }
  }

  /** Keeps metrics; a step that was kept before (a resumed run repeats some) is replaced. */
  addMetrics(id: string, metrics: readonly TrainingMetrics[]): void {
    const insert = this.#prepare("insert or replace into metrics (run, step, data) select seq, ?, ? from runs where id = ?");
    this.transaction(() => {
      for (const entry of metrics) insert.run(entry.step, toBinary(TrainingMetricsSchema, entry), id);
    });
    this.#metricsChanged();
  }

  /** Forgets the metrics of steps that a resumed run is going to repeat. */
  dropMetricsAfter(id: string, step: number): void {
    this.transaction(() => {
      this.#prepare("delete from metrics where run = (select seq from runs where id = ?) and step > ?").run(id, step);
      // What was sent on of them has to go there too; see MetricsOutbox.
      this.#prepare(
        "update runs set metrics_sent = min(metrics_sent, ?1), metrics_drop = min(coalesce(metrics_drop, ?1), ?1), metrics_resets = metrics_resets + 1 where id = ?2",
      ).run(step, id);
    });
    this.#metricsChanged();
  }

  /** In the order of steps. */
  metricsAfter(id: string, step: bigint, limit: number): TrainingMetrics[] {
    return this.#prepare("select data from metrics where run = (select seq from runs where id = ?) and step > ? order by step limit ?")
      .all(id, step, limit)
      .map((columns) => fromBinary(TrainingMetricsSchema, columns["data"] as Uint8Array));
  }

  lastMetrics(id: string): TrainingMetrics | undefined {
    const row = this.#prepare("select data from metrics where run = (select seq from runs where id = ?) order by step desc limit 1").get(id);
    return row === undefined ? undefined : fromBinary(TrainingMetricsSchema, row["data"] as Uint8Array);
  }

  #prepare(sql: string): StatementSync {
    const statement = this.#statements.get(sql) ?? this.#db.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }
}

function rowOf(columns: Record<string, SQLOutputValue> | undefined): RunRow | undefined {
  if (columns === undefined) return undefined;
  const { evaluation, request_id: requestId } = columns;
  return {
    seq: Number(columns["seq"]),
    id: String(columns["id"]),
    identity: String(columns["identity"]),
    requestId: typeof requestId === "string" ? requestId : undefined,
    sweep: String(columns["sweep"]),
    asked: fromBinary(TrainingConfigSchema, columns["asked"] as Uint8Array),
    config: fromBinary(TrainingConfigSchema, columns["config"] as Uint8Array),
    model: storedModel(String(columns["model"])),
    corpus: String(columns["corpus"]),
    tokensHarvested: Number(columns["tokens_harvested"]),
    tokensToHarvest: Number(columns["tokens_to_harvest"]),
    evaluation: evaluation instanceof Uint8Array ? fromBinary(SaeEvaluationSchema, evaluation) : undefined,
    saeUri: String(columns["sae_uri"]),
    weightsSha256: String(columns["weights_sha256"]),
    stopped: Number(columns["stopped"]) === 1,
    createMs: Number(columns["create_ms"]),
    updateMs: Number(columns["update_ms"]),
  };
}

/** Runs that an older service stored have no dModel, and shards of the size that the hook's width gives. */
function storedModel(json: string): ModelFacts {
  const model = JSON.parse(json) as Omit<ModelFacts, "dModel"> & Partial<ModelFacts>;
  return { ...model, dModel: model.dModel ?? model.width };
}
