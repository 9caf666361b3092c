import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, StringValueSchema } from "@bufbuild/protobuf/wkt";
import { OperationService, OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { type Client, Code, createClient, implement, type RunningServer, startServer } from "@mistral-sae/rpc";
import { afterAll, beforeAll, expect, test } from "vitest";
import { JobEngine, operationHandlers } from "../src/index.ts";
import { countingJob } from "./counting-job.ts";

let folder: string;
let engine: JobEngine;
let server: RunningServer;
let client: Client<typeof OperationService>;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "jobs-rpc-"));
  engine = await JobEngine.open({ service: "served", path: join(folder, "jobs.sqlite"), definitions: [countingJob(join(folder, "log"), 4, 120, 1)] });
  server = await startServer({ listen: "127.0.0.1:0", services: [implement(OperationService, operationHandlers(engine))] });
  client = createClient(OperationService, server.address);
});

afterAll(async () => {
  await engine.close();
  await server.close(100);
  rmSync(folder, { recursive: true });
});

test("an operation is watched, cancelled, resumed, waited for, listed and deleted over gRPC", async () => {
  const { name } = engine.start("count", create(StringValueSchema, { value: "x" }));
  const states: OperationState[] = [];
  for await (const { operation } of client.watchOperation({ name })) {
    states.push(operation?.state ?? OperationState.UNSPECIFIED);
    if ((operation?.progress?.doneUnits ?? 0n) >= 1n) await client.cancelOperation({ name });
  }
  expect(states.at(-1)).toBe(OperationState.CANCELLED);
  expect((await client.resumeOperation({ name })).operation?.done).toBe(false);
  expect((await client.waitOperation({ name, timeout: durationFromMs(10) })).operation?.done).toBe(false);
  expect((await client.waitOperation({ name })).operation?.state).toBe(OperationState.SUCCEEDED);
  expect((await client.getOperation({ name })).operation?.attempts).toBe(2);
  expect((await client.listOperations({ kinds: ["count"] })).operations.map((operation) => operation.name)).toEqual([name]);
  await client.deleteOperation({ name });
  await expect(client.getOperation({ name })).rejects.toMatchObject({ code: Code.NotFound });
});

test("waiting answers before the caller's deadline", async () => {
  const { name } = engine.start("count", create(StringValueSchema, { value: "y" }));
  const { operation } = await client.waitOperation({ name }, { timeoutMs: 200 });
  expect(operation?.done).toBe(false);
});
