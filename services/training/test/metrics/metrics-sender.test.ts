import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { RecordTrainingMetricsRequestSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { TrainingConfigSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import { TrainingMetricsSchema, type TrainingMetrics } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { invalidArgument, unavailable } from "@mistral-sae/rpc";
import { createLogger } from "@mistral-sae/telemetry";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MetricsOutbox } from "../../src/metrics/metrics-outbox.ts";
import { MetricsSender } from "../../src/metrics/metrics-sender.ts";
import { RunStore } from "../../src/runs/run-store.ts";

let folder: string;
let store: RunStore;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "metrics-"));
  store = new RunStore(join(folder, "runs.sqlite"));
  for (const id of ["a", "b"]) store.insert({ id, identity: id, asked: create(TrainingConfigSchema), config: create(TrainingConfigSchema), model: { name: "models/m", digest: "", nCtx: 1, bosTokenId: undefined, dModel: 1, hookName: "h", width: 1 }, corpus: "" }, undefined);
});
afterEach(() => {
  store.close();
  rmSync(folder, { recursive: true });
});

function steps(from: number, to: number, loss = 1): TrainingMetrics[] {
  return Array.from({ length: to - from + 1 }, (_, at) => create(TrainingMetricsSchema, { step: BigInt(from + at), loss }));
}

type Request = MessageInitShape<typeof RecordTrainingMetricsRequestSchema>;

/** What the feature index would hold: loss by step, by run. */
function fakeIndex(before: (request: Request) => void = () => undefined) {
  const held = new Map<string, Map<number, number>>();
  const client = {
    recordTrainingMetrics: async (request: Request) => {
      before(request);
      const run = held.get(request.trainingRun ?? "") ?? new Map<number, number>();
      held.set(request.trainingRun ?? "", run);
      for (const step of run.keys()) if (request.dropAfterStep !== undefined && step > Number(request.dropAfterStep)) run.delete(step);
      for (const { step, loss } of request.rows ?? []) run.set(Number(step), loss ?? 0);
      return await Promise.resolve({ rows: request.rows?.length ?? 0 } as never);
    },
  };
  return { client, losses: (run: string) => [...(held.get(`trainingRuns/${run}`) ?? [])].sort(([a], [b]) => a - b) };
}

function sender(client: ReturnType<typeof fakeIndex>["client"], lines: string[] = []): MetricsSender {
  const started = new MetricsSender(new MetricsOutbox(store.database), client, createLogger("test", { level: "info", write: (line) => lines.push(line) }), { everyMs: 5, longestDelayMs: 20 });
  store.onMetrics(() => started.wake());
  started.wake();
  return started;
}

describe("MetricsSender", () => {
  it("sends what the catalogue holds, once, and what comes later", async () => {
    store.addMetrics("a", steps(1, 2500));
    let calls = 0;
    const index = fakeIndex(() => (calls += 1));
    const sending = sender(index.client);
    await expect.poll(() => index.losses("a").length).toBe(2500);
    expect(calls).toBe(3);
    store.addMetrics("b", steps(1, 3, 7));
    await expect.poll(() => index.losses("b")).toEqual([[1, 7], [2, 7], [3, 7]]);
    expect(calls).toBe(4);
    await sending.close();
  });

  it("goes on after an absence and after a restart, with nothing lost", async () => {
    const lines: string[] = [];
    let away = true;
    const index = fakeIndex(() => {
      if (away) throw unavailable("AWAY", "nobody is there");
    });
    const first = sender(index.client, lines);
    store.addMetrics("a", steps(1, 10));
    await expect.poll(() => lines.join("")).toContain("metrics wait in the catalogue");
    store.addMetrics("a", steps(11, 20));
    await first.close();
    away = false;
    const second = sender(index.client, lines);
    await expect.poll(() => index.losses("a").length).toBe(20);
    await second.close();
  });

  it("takes back the steps after the checkpoint that a run resumed from", async () => {
    const index = fakeIndex();
    const sending = sender(index.client);
    store.addMetrics("a", steps(1, 10, 1));
    await expect.poll(() => index.losses("a").length).toBe(10);
    store.dropMetricsAfter("a", 4);
    store.addMetrics("a", steps(5, 6, 2));
    await expect.poll(() => index.losses("a")).toEqual([...Array.from({ length: 4 }, (_, at) => [at + 1, 1]), [5, 2], [6, 2]]);
    await sending.close();
  });

  it("sends again what was taken back while it was under way", async () => {
    let interfere = true;
    const index = fakeIndex(() => {
      if (!interfere) return;
      interfere = false;
      store.dropMetricsAfter("a", 2);
      store.addMetrics("a", steps(3, 3, 9));
    });
    store.addMetrics("a", steps(1, 10, 1));
    const sending = sender(index.client);
    await expect.poll(() => index.losses("a")).toEqual([[1, 1], [2, 1], [3, 9]]);
    await sending.close();
  });

  it("leaves out a run whose metrics are refused for good, and sends the others", async () => {
    const lines: string[] = [];
    const index = fakeIndex(({ trainingRun }) => {
      if (trainingRun === "trainingRuns/a") throw invalidArgument("rows", "never");
    });
    store.addMetrics("a", steps(1, 2));
    store.addMetrics("b", steps(1, 2));
    const sending = sender(index.client, lines);
    await expect.poll(() => index.losses("b").length).toBe(2);
    store.addMetrics("b", steps(3, 4));
    await expect.poll(() => index.losses("b").length).toBe(4);
    expect(lines.filter((line) => line.includes("refuses"))).toHaveLength(1);
    await sending.close();
  });
});
