import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { anyUnpack, StringValueSchema } from "@bufbuild/protobuf/wkt";
import { OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { afterEach, beforeEach, expect, test } from "vitest";
import { JobEngine } from "../src/index.ts";
import { EmbeddedEngine } from "../src/embedded/embedded-engine.ts";
import { Ledger } from "../src/embedded/ledger.ts";

const shards = 60;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "jobs-kill-"));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

function worker(): ChildProcess {
  const script = join(import.meta.dirname, "killed-worker.ts");
  return spawn(process.execPath, ["--disable-warning=ExperimentalWarning", script, folder, String(shards)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
}

function finishedShards(): Set<number> {
  const ledger = new Ledger(join(folder, "jobs.sqlite"));
  const row = ledger.inStates([OperationState.RUNNING, OperationState.SUCCEEDED])[0];
  const done = new Set<number>();
  if (row !== undefined && row.planned) {
    const pending = new Set(ledger.pendingShards(row.seq).map(({ shard }) => shard));
    for (let shard = 0; shard < shards; shard++) if (!pending.has(shard)) done.add(shard);
  }
  ledger.close();
  return done;
}

test("a job that is killed again and again ends with every shard done, and none done again after its result was stored", async () => {
  let kills = 0;
  for (let delay = 0; ; delay += 12) {
    const before = finishedShardsOrNone(kills);
    const begunBefore = lines("begun").length;
    const child = worker();
    const ended = once(child, "exit");
    await once(child.stdout ?? child, "data");
    await Promise.race([sleep(delay), ended]);
    if (child.exitCode !== null) break;
    child.kill("SIGKILL");
    await ended;
    kills += 1;
    for (const shard of lines("begun").slice(begunBefore)) expect(before.has(Number(shard))).toBe(false);
  }
  expect(kills).toBeGreaterThan(3);
  const engine = new EmbeddedEngine({ service: "killed", path: join(folder, "jobs.sqlite"), definitions: [] });
  const [operation, ...others] = engine.list().operations;
  await engine.close();
  expect(others).toEqual([]);
  expect(operation?.state).toBe(OperationState.SUCCEEDED);
  const all = Array.from({ length: shards }, (_, shard) => shard);
  const output = operation?.result.case === "response" ? anyUnpack(operation.result.value, StringValueSchema) : undefined;
  expect(output?.value).toBe(all.join(","));
  expect(readdirSync(folder).filter((name) => name.startsWith("effect-")).length).toBe(shards);
});

function finishedShardsOrNone(kills: number): Set<number> {
  return kills === 0 ? new Set() : finishedShards();
}

function lines(name: string): string[] {
  try {
    return readFileSync(join(folder, name), "utf8").trim().split("\n");
  } catch {
    return [];
  }
}

test("an operation whose cancel was asked for just before a crash is cancelled by the next process", async () => {
  const path = join(folder, "jobs.sqlite");
  const ledger = new Ledger(path);
  const { seq } = ledger.insert({ id: "stopped", kind: "append", requestId: undefined, input: new Uint8Array(), progress: "{}" });
  ledger.begin(seq);
  ledger.saveProgress(seq, JSON.stringify({ stage: "", doneUnits: "0", totalUnits: "0", unit: "", openSeconds: 0, warnings: [], stageSeconds: {} }));
  ledger.requestStop(seq, 1);
  ledger.close();
  const engine = await JobEngine.open({ service: "killed", path, definitions: [] });
  expect(engine.recover()).toEqual([]);
  expect(engine.get("operations/killed/stopped").state).toBe(OperationState.CANCELLED);
  await engine.close();
});

test("an operation of a kind that this version does not know fails with a reason", async () => {
  const path = join(folder, "jobs.sqlite");
  const ledger = new Ledger(path);
  const progress = JSON.stringify({ stage: "", doneUnits: "0", totalUnits: "0", unit: "", openSeconds: 0, warnings: [], stageSeconds: {} });
  ledger.insert({ id: "old", kind: "gone", requestId: undefined, input: new Uint8Array(), progress });
  ledger.close();
  const engine = await JobEngine.open({ service: "killed", path, definitions: [] });
  engine.recover();
  const ended = await engine.wait("operations/killed/old");
  expect(ended.result).toMatchObject({ case: "error", value: { message: 'this version has no job of kind "gone"' } });
  await engine.close();
});
