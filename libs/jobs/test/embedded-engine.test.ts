import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { anyUnpack, DurationSchema, type StringValue, StringValueSchema } from "@bufbuild/protobuf/wkt";
import { type Operation, OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { InputError } from "@mistral-sae/tensor";
import { Code, invalidArgument, RpcError, unavailable } from "@mistral-sae/rpc";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Job, JobEngine } from "../src/index.ts";
import { countingJob, scriptedJob } from "./counting-job.ts";

let folder: string;
const open: JobEngine[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "jobs-"));
});

afterEach(async () => {
  for (const engine of open.splice(0)) await engine.close(500);
  rmSync(folder, { recursive: true });
});

async function engineWith(...definitions: Job[]): Promise<JobEngine> {
  const engine = await JobEngine.open({
    service: "testing",
    path: join(folder, "jobs.sqlite"),
    definitions,
    retry: { firstDelayMs: 5, maxDelayMs: 20, giveUpAfterMs: 300 },
  });
  open.push(engine);
  return engine;
}

function text(value: string): StringValue {
  return create(StringValueSchema, { value });
}

function output(operation: Operation): string {
  if (operation.result.case !== "response") throw new Error(`no response: ${JSON.stringify(operation.result.value)}`);
  return anyUnpack(operation.result.value, StringValueSchema)?.value ?? "";
}

function errorOf(work: () => unknown): RpcError {
  try {
    work();
  } catch (error) {
    if (error instanceof RpcError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("an operation", () => {
  test("runs its shards, reduces their results in the order of the plan and keeps the output", async () => {
    const engine = await engineWith(countingJob(join(folder, "log"), 7, 1));
    const started = engine.start("count", text("squares"));
    expect(started.done).toBe(false);
    expect(started.name).toMatch(/^operations\/testing\/count-[0-9a-f]{12}$/);
    const ended = await engine.wait(started.name);
    expect(ended.state).toBe(OperationState.SUCCEEDED);
    expect(output(ended)).toBe("squares 7 91");
    expect(ended.attempts).toBe(1);
    expect(ended.progress).toMatchObject({ stage: "count", doneUnits: 7n, totalUnits: 7n, unit: "shards" });
    expect(ended.metadata?.typeUrl).toBe("type.googleapis.com/google.protobuf.StringValue");
  });

  test("keeps the status of its failure, with reason and field, and can be resumed", async () => {
    let broken = true;
    const engine = await engineWith(
      scriptedJob(async () => {
        if (broken) throw invalidArgument("k", "got 0, wanted at least 1", "K_INVALID");
        return "mended";
      }),
    );
    const failed = await engine.wait(engine.start("scripted", text("")).name);
    expect(failed.state).toBe(OperationState.FAILED);
    expect(failed.result).toMatchObject({ case: "error", value: { code: Code.InvalidArgument, message: "k: got 0, wanted at least 1" } });
    expect(failed.result.case === "error" ? failed.result.value.details.map((detail) => detail.typeUrl) : []).toEqual([
      "type.googleapis.com/google.rpc.ErrorInfo",
      "type.googleapis.com/google.rpc.BadRequest",
    ]);
    broken = false;
    await engine.resume(failed.name);
    const ended = await engine.wait(failed.name);
    expect(output(ended)).toBe("mended");
    expect(ended.attempts).toBe(2);
  });

  test("that meets a library's InputError fails as INVALID_ARGUMENT", async () => {
    const engine = await engineWith(
      scriptedJob(async () => {
        throw new InputError("header is cut off", { file: "a.safetensors" });
      }),
    );
    const failed = await engine.wait(engine.start("scripted", text("")).name);
    expect(failed.result).toMatchObject({ case: "error", value: { code: Code.InvalidArgument } });
  });

  test("repeats what failed because a peer was away, warns of it, and gives up in the end", async () => {
    let calls = 0;
    const flaky = scriptedJob(async (ctx) => {
      calls += 1;
      if (calls < 3) throw unavailable("PEER_AWAY", "inference is away", 1);
      return ctx.attempt;
    }, "flaky");
    const away = scriptedJob(async () => {
      throw unavailable("PEER_AWAY", "inference is away", 1);
    }, "away");
    const engine = await engineWith(flaky, away);
    const ended = await engine.wait(engine.start("flaky", text("")).name);
    expect(output(ended)).toBe("3");
    expect(ended.progress?.warnings).toEqual(["repeated after: inference is away"]);
    const failed = await engine.wait(engine.start("away", text("")).name);
    expect(failed.result).toMatchObject({ case: "error", value: { code: Code.Unavailable } });
  });

  test("whose shard fails stops the other shards and runs only unfinished ones when it is resumed", async () => {
    const runs: number[] = [];
    let broken = true;
    const { defineJob } = await import("../src/index.ts");
    const engine = await engineWith(
      defineJob({
        kind: "partial",
        input: StringValueSchema,
        output: StringValueSchema,
        plan: async () => [0, 1, 2, 3],
        run: async (shard: number) => {
          runs.push(shard);
          if (shard === 2 && broken) throw new Error("shard 2 is broken");
          return shard;
        },
        reduce: async (_input, results) => ({ value: results.join("") }),
      }),
    );
    const failed = await engine.wait(engine.start("partial", text("")).name);
    expect(failed.result).toMatchObject({ case: "error", value: { code: Code.Internal, message: "shard 2 is broken" } });
    broken = false;
    await engine.resume(failed.name);
    expect(output(await engine.wait(failed.name))).toBe("0123");
    expect(runs).toEqual([0, 1, 2, 2, 3]);
  });

  test("keeps its durable state, its stages and its warnings over a new engine", async () => {
    const job = (last: boolean): Job =>
      scriptedJob(async (ctx) => {
        ctx.state.set("seen", [...((ctx.state.get("seen") as number[] | undefined) ?? []), ctx.attempt]);
        ctx.progress({ stage: "read", doneUnits: 5, totalUnits: 10, unit: "tokens" });
        ctx.warn("careful");
        ctx.warn("careful");
        if (!last) await sleep(60_000, undefined, { signal: ctx.signal });
        ctx.progress({ stage: "write", doneUnits: 1n });
        return JSON.stringify(ctx.state.get("seen"));
      });
    const first = await engineWith(job(false));
    const { name } = first.start("scripted", text(""));
    await first.wait(name, { timeoutMs: 100 });
    expect(first.get(name).progress).toMatchObject({ stage: "read", doneUnits: 5n, totalUnits: 10n, unit: "tokens" });
    await first.close();
    const second = await engineWith(job(true));
    expect(second.get(name).state).toBe(OperationState.RUNNING);
    expect(second.recover().map((operation) => operation.name)).toEqual([name]);
    const ended = await second.wait(name);
    expect(output(ended)).toBe("[1,2]");
    expect(ended.attempts).toBe(2);
    expect(ended.progress?.warnings).toEqual(["careful"]);
    expect(Object.keys(ended.progress?.stageSeconds ?? {})).toEqual(["scripted", "read", "write"]);
    expect(ended.progress?.stageSeconds["read"]).toBeGreaterThan(0);
  });
});

describe("starting", () => {
  test("twice with one request_id gives one operation, and another input is refused", async () => {
    const engine = await engineWith(countingJob(join(folder, "log"), 2, 1));
    const first = engine.start("count", text("a"), { requestId: "r-1" });
    expect(engine.start("count", text("a"), { requestId: "r-1" }).name).toBe(first.name);
    await engine.wait(first.name);
    expect(engine.start("count", text("a"), { requestId: "r-1" }).done).toBe(true);
    expect(errorOf(() => engine.start("count", text("b"), { requestId: "r-1" }))).toMatchObject({
      code: Code.AlreadyExists,
      reason: "REQUEST_ID_REUSED",
    });
  });

  test("refuses an unknown kind, another input message, a taken id and an id of another form", async () => {
    const engine = await engineWith(countingJob(join(folder, "log"), 2, 1));
    engine.start("count", text(""), { id: "mine" });
    expect(errorOf(() => engine.start("count", text(""), { id: "mine" })).code).toBe(Code.AlreadyExists);
    expect(errorOf(() => engine.start("count", text(""), { id: "Mine!" })).code).toBe(Code.InvalidArgument);
    expect(errorOf(() => engine.start("paint", text(""))).message).toContain('"paint"');
    expect(errorOf(() => engine.start("count", create(DurationSchema))).message).toContain("google.protobuf.Duration");
  });

  test("more operations than there are slots leaves the others queued until one is free", async () => {
    const engine = await JobEngine.open({
      service: "testing",
      path: join(folder, "jobs.sqlite"),
      definitions: [countingJob(join(folder, "log"), 2, 20)],
      operationsInParallel: 1,
    });
    open.push(engine);
    const [first, second] = [engine.start("count", text("1")), engine.start("count", text("2"))];
    expect(first.state).toBe(OperationState.RUNNING);
    expect(second.state).toBe(OperationState.QUEUED);
    expect(output(await engine.wait(second.name))).toBe("2 2 1");
    expect(engine.get(first.name).state).toBe(OperationState.SUCCEEDED);
  });

  test("an operation that starts others holds the slot for them, also when all of them are recovered", async () => {
    const path = join(folder, "jobs.sqlite");
    const inner = { ...countingJob(join(folder, "log"), 2, 20), takesSlot: false };
    const openEngine = async (): Promise<JobEngine> => {
      const outer = scriptedJob(async (ctx) => {
        if (ctx.state.get("child") === undefined) ctx.state.set("child", engine.start("count", text("7")).name);
        const child = await engine.wait(String(ctx.state.get("child")), { signal: ctx.signal });
        return output(child);
      });
      const engine = await JobEngine.open({ service: "testing", path, definitions: [outer, inner], operationsInParallel: 1 });
      open.push(engine);
      return engine;
    };
    const first = await openEngine();
    const { name } = first.start("scripted", text(""));
    await expect.poll(() => first.list({ kinds: ["count"] }).operations.length).toBe(1);
    await first.close();
    const second = await openEngine();
    second.recover();
    expect(output(await second.wait(name))).toContain("7 2");
  });

  test("a second engine on the same ledger is refused while the first one lives", async () => {
    await engineWith();
    const { LedgerLock } = await import("../src/embedded/ledger-lock.ts");
    expect(errorOf(() => new LedgerLock(join(folder, "jobs.sqlite"), 10))).toMatchObject({ reason: "LEDGER_IN_USE" });
  });
});

describe("cancelling and pausing", () => {
  test("stops the work, keeps finished shards, and resume runs the rest", async () => {
    const engine = await engineWith(countingJob(join(folder, "log"), 6, 40, 1));
    const { name } = engine.start("count", text("c"));
    for await (const operation of engine.watch(name)) {
      if ((operation.progress?.doneUnits ?? 0n) >= 2n) break;
    }
    engine.cancel(name);
    const cancelled = await engine.wait(name);
    expect(cancelled.state).toBe(OperationState.CANCELLED);
    expect(cancelled.result).toMatchObject({ case: "error", value: { code: Code.Canceled } });
    const resumed = await engine.resume(name);
    expect(resumed.done).toBe(false);
    const ended = await engine.wait(name);
    expect(output(ended)).toBe("c 6 55");
    expect(engine.cancel(name).state).toBe(OperationState.SUCCEEDED);
    await expect(engine.resume(name)).rejects.toMatchObject({ reason: "OPERATION_SUCCEEDED" });
  });

  test("a pause leaves the operation open, over a restart too, until it is resumed", async () => {
    const first = await engineWith(countingJob(join(folder, "log"), 3, 40, 1));
    const { name } = first.start("count", text("p"));
    first.pause(name);
    await expect.poll(() => first.get(name).state).toBe(OperationState.PAUSED);
    expect(first.get(name)).toMatchObject({ done: false, result: { case: undefined } });
    await first.close();
    const second = await engineWith(countingJob(join(folder, "log"), 3, 1, 1));
    expect(second.recover()).toEqual([]);
    await second.resume(name);
    expect(output(await second.wait(name))).toBe("p 3 5");
  });

  test("a queued operation is cancelled at once, and only a done one can be deleted", async () => {
    const engine = await JobEngine.open({
      service: "testing",
      path: join(folder, "jobs.sqlite"),
      definitions: [countingJob(join(folder, "log"), 1, 60_000)],
      operationsInParallel: 1,
    });
    open.push(engine);
    const [running, queued] = [engine.start("count", text("1")), engine.start("count", text("2"))];
    expect(engine.cancel(queued.name).state).toBe(OperationState.CANCELLED);
    expect(errorOf(() => engine.delete(running.name)).reason).toBe("OPERATION_NOT_DONE");
    engine.delete(queued.name);
    expect(errorOf(() => engine.get(queued.name)).code).toBe(Code.NotFound);
  });
});

describe("reading", () => {
  test("lists newest first in pages, by kind and by state", async () => {
    const engine = await engineWith(countingJob(join(folder, "log"), 1, 1), scriptedJob(async () => ""));
    const names: string[] = [];
    for (let i = 0; i < 5; i++) names.unshift((await engine.wait(engine.start("count", text(String(i))).name)).name);
    engine.start("scripted", text(""));
    const first = engine.list({ pageSize: 3, kinds: ["count"] });
    const second = engine.list({ pageSize: 3, kinds: ["count"], pageToken: first.nextPageToken });
    expect([...first.operations, ...second.operations].map((operation) => operation.name)).toEqual(names);
    expect(second.nextPageToken).toBe("");
    expect(engine.list({ states: [OperationState.FAILED] }).operations).toEqual([]);
    expect(errorOf(() => engine.list({ pageToken: first.nextPageToken })).reason).toBe("PAGE_TOKEN_INVALID");
  });

  test("a watcher sees the operation move and end", async () => {
    const engine = await engineWith(countingJob(join(folder, "log"), 4, 60, 1));
    const { name } = engine.start("count", text("w"));
    const seen: number[] = [];
    let last: Operation | undefined;
    for await (const operation of engine.watch(name)) {
      seen.push(Number(operation.progress?.doneUnits));
      last = operation;
    }
    expect(seen.toSorted((a, b) => a - b)).toEqual(seen);
    expect(seen.length).toBeGreaterThan(2);
    expect(last?.done).toBe(true);
  });

  test("waiting ends at its timeout, at an abort and when the engine closes", async () => {
    const engine = await engineWith(countingJob(join(folder, "log"), 1, 60_000));
    const { name } = engine.start("count", text(""));
    expect((await engine.wait(name, { timeoutMs: 5 })).done).toBe(false);
    await expect(engine.wait(name, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: Code.Canceled });
    const closing = sleep(5).then(() => engine.close());
    await expect(engine.wait(name)).rejects.toMatchObject({ reason: "ENGINE_CLOSING" });
    await closing;
  });

  test("names of another service and of another form are told apart", async () => {
    const engine = await engineWith();
    expect(errorOf(() => engine.get("operations/training/x")).code).toBe(Code.NotFound);
    expect(errorOf(() => engine.get("operations/x")).code).toBe(Code.InvalidArgument);
  });
});
