import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync, type SQLInputValue, type SQLOutputValue, type StatementSync } from "node:sqlite";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type Explanation,
  ExplanationSchema,
  ExplanationStatus,
  type Score,
  ScoreSchema,
} from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import type { PaidCall } from "../llm/spending.ts";
import { type ExplanationKey, explanationName } from "../names.ts";
import { storeSchema } from "./store-schema.ts";

/** An explanation with what the store knows beside the message. */
export interface StoredExplanation {
  readonly key: ExplanationKey;
  /** With its scores and votes. */
  readonly explanation: Explanation;
  /** The operation that made it; undefined for a single call. */
  readonly operation: string | undefined;
  /** Of the index that it was made from. */
  readonly version: string;
}

/** Where a page of explanations goes on. */
export interface PagePosition {
  readonly feature: number;
  readonly createMs: number;
  readonly id: string;
}

type Row = Record<string, SQLOutputValue>;

/** Explanations, scores, votes and paid calls in one SQLite file, on the disk when a method returns. */
export class ExplanationStore {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true });
    this.#db = new DatabaseSync(path, { enableForeignKeyConstraints: true });
    this.#db.exec("pragma journal_mode = wal; pragma synchronous = full; pragma busy_timeout = 5000;");
    this.#db.exec(storeSchema);
  }

  close(): void {
    this.#statements.clear();
    this.#db.close();
  }

  get(key: ExplanationKey): StoredExplanation | undefined {
    const rows = this.#all("select * from explanations where sae = ? and feature = ? and id = ?", key.sae, key.feature, key.id);
    return rows.map((row) => this.#stored(row))[0];
  }

  /** Those of the given features that have an explanation with this id, made from this version, by feature. */
  find(sae: string, features: readonly number[], id: string, version: string): Map<number, StoredExplanation> {
    const found = new Map<number, StoredExplanation>();
    for (const feature of features) {
      const stored = this.get({ sae, feature, id });
      if (stored?.version === version) found.set(feature, stored);
    }
    return found;
  }

  /** Stores all or none; one of the same name is replaced, its scores and votes go. */
  put(entries: readonly { readonly key: ExplanationKey; readonly explanation: Explanation }[], version: string, operation?: string): void {
    const sql = "insert into explanations (sae, feature, id, message, status, version, operation, create_ms) values (?, ?, ?, ?, ?, ?, ?, ?)";
    this.#transaction(() => {
      for (const { key, explanation } of entries) {
        const message = toBinary(ExplanationSchema, explanation);
        const { status, createTime } = explanation;
        const createMs = createTime === undefined ? 0 : Number(createTime.seconds) * 1000 + Math.floor(createTime.nanos / 1e6);
        this.#run("delete from explanations where sae = ? and feature = ? and id = ?", key.sae, key.feature, key.id);
        this.#run(sql, key.sae, key.feature, key.id, message, status, version, operation ?? null, createMs);
      }
    });
  }

  /** Returns whether there was one. */
  delete(key: ExplanationKey): boolean {
    const sql = "delete from explanations where sae = ? and feature = ? and id = ?";
    return this.#prepare(sql).run(key.sae, key.feature, key.id).changes > 0;
  }

  /** By feature, then newest first, after a position. */
  page(sae: string, feature: number | undefined, after: PagePosition | undefined, limit: number): StoredExplanation[] {
    const from = after ?? { feature: -1, createMs: 0, id: "" };
    const one = feature === undefined ? "" : "and feature = ? ";
    const sql = `select * from explanations where sae = ? ${one}
      and (feature > ? or (feature = ? and (create_ms < ? or (create_ms = ? and id > ?))))
      order by feature, create_ms desc, id limit ?`;
    const { createMs, id } = from;
    const keys = [from.feature, from.feature, createMs, createMs, id];
    return this.#all(sql, sae, ...(feature === undefined ? [] : [feature]), ...keys, limit).map((row) => this.#stored(row));
  }

  /** Newest explanation in words of each of the features; of all explained features where none are given. */
  newest(sae: string, features: readonly number[]): StoredExplanation[] {
    const sql = "select * from explanations where sae = ? and status = ? order by feature, create_ms desc, id";
    const wanted = new Set(features);
    const newest = new Map<number, Row>();
    for (const row of this.#all(sql, sae, ExplanationStatus.OK)) {
      const feature = Number(row["feature"]);
      if (!newest.has(feature) && (wanted.size === 0 || wanted.has(feature))) newest.set(feature, row);
    }
    return [...newest.values()].map((row) => this.#stored(row));
  }

  /** The explanation of the n-th other feature in the order of features, counted round; undefined where there is none. */
  other(sae: string, feature: number, n: number): StoredExplanation | undefined {
    const where = "from explanations where sae = ? and feature <> ? and status = ?";
    const values = [sae, feature, ExplanationStatus.OK];
    const count = Number(this.#all(`select count(*) as n ${where}`, ...values)[0]?.["n"] ?? 0);
    if (count === 0) return undefined;
    const rows = this.#all(`select * ${where} order by feature, id limit 1 offset ?`, ...values, n % count);
    return rows.map((row) => this.#stored(row))[0];
  }

  score(key: ExplanationKey, id: string): { readonly score: Score; readonly operation: string | undefined } | undefined {
    const sql = "select message, operation from scores where sae = ? and feature = ? and explanation = ? and id = ?";
    const row = this.#all(sql, key.sae, key.feature, key.id, id)[0];
    return row === undefined ? undefined : { score: fromBinary(ScoreSchema, bytes(row["message"])), operation: text(row["operation"]) };
  }

  putScore(key: ExplanationKey, id: string, score: Score, operation?: string): void {
    const sql = "insert or replace into scores (sae, feature, explanation, id, message, operation) values (?, ?, ?, ?, ?, ?)";
    this.#run(sql, key.sae, key.feature, key.id, id, toBinary(ScoreSchema, score), operation ?? null);
  }

  /** 0 takes the rater's vote back. */
  rate(key: ExplanationKey, rater: string, vote: number, comment: string): void {
    const where = "sae = ? and feature = ? and explanation = ? and rater = ?";
    if (vote === 0) {
      this.#run(`delete from votes where ${where}`, key.sae, key.feature, key.id, rater);
    } else {
      const sql = "insert or replace into votes (sae, feature, explanation, rater, vote, comment, update_ms) values (?, ?, ?, ?, ?, ?, ?)";
      this.#run(sql, key.sae, key.feature, key.id, rater, vote, comment, Date.now());
    }
  }

  recordCall(call: PaidCall, operation?: string): void {
    const sql = `insert into paid_calls (operation, feature, task, endpoint, model, prompt_tokens, completion_tokens, cost_usd, create_ms)
      values (?, ?, ?, ?, ?, ?, ?, ?, ?)`;
    const { feature, task, endpoint, model, promptTokens, completionTokens, costUsd } = call;
    this.#run(sql, operation ?? null, feature, task, endpoint, model, promptTokens, completionTokens, costUsd, Date.now());
  }

  /** What an operation has paid. */
  spentBy(operation: string): { readonly promptTokens: number; readonly completionTokens: number; readonly costUsd: number } {
    const sql = `select coalesce(sum(prompt_tokens), 0) as prompt, coalesce(sum(completion_tokens), 0) as completion,
      coalesce(sum(cost_usd), 0.0) as cost from paid_calls where operation = ?`;
    const row = this.#all(sql, operation)[0];
    return { promptTokens: Number(row?.["prompt"]), completionTokens: Number(row?.["completion"]), costUsd: Number(row?.["cost"]) };
  }

  #stored(row: Row): StoredExplanation {
    const key = { sae: String(row["sae"]), feature: Number(row["feature"]), id: String(row["id"]) };
    const explanation = fromBinary(ExplanationSchema, bytes(row["message"]));
    const where = "where sae = ? and feature = ? and explanation = ?";
    const scores = this.#all(`select message from scores ${where} order by id`, key.sae, key.feature, key.id);
    const votes = this.#all(`select coalesce(sum(vote), 0) as votes from votes ${where}`, key.sae, key.feature, key.id);
    explanation.name = explanationName(key);
    explanation.scores = scores.map(({ message }) => fromBinary(ScoreSchema, bytes(message)));
    explanation.votes = BigInt(Number(votes[0]?.["votes"] ?? 0));
    return { key, explanation, operation: text(row["operation"]), version: String(row["version"]) };
  }

  #all(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#prepare(sql).all(...values);
  }

  #run(sql: string, ...values: SQLInputValue[]): void {
    this.#prepare(sql).run(...values);
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #transaction(work: () => void): void {
    this.#db.exec("begin immediate");
    try {
      work();
      this.#db.exec("commit");
    } catch (error) {
      this.#db.exec("rollback");
      throw error;
    }
  }
}

function bytes(value: SQLOutputValue | undefined): Uint8Array {
  return value instanceof Uint8Array ? value : new Uint8Array();
}

function text(value: SQLOutputValue | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}
