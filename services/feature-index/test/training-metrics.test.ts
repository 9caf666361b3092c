import type { MessageInitShape } from "@bufbuild/protobuf";
import type { RecordTrainingMetricsRequestSchema, TrainingMetricsRowSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { Code } from "@mistral-sae/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { removeFolder, startService, temporaryFolder, type TestService } from "./fixtures/with-service.ts";

let service: TestService;
let folder: string;

beforeAll(async () => {
  folder = temporaryFolder();
  service = await startService(`${folder}/data`, "127.0.0.1:1");
});
afterAll(async () => {
  await service.stop();
  removeFolder(folder);
});

async function rows(sql: string): Promise<Record<string, unknown>[]> {
  const pieces: Uint8Array[] = [];
  for await (const { data } of service.index.query({ sql })) pieces.push(data);
  return Buffer.concat(pieces).toString().split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as Record<string, unknown>);
}

type Row = MessageInitShape<typeof TrainingMetricsRowSchema>;

function step(number: number, loss = 1 / number): Row {
  return { step: BigInt(number), nTrainingTokens: BigInt(number * 1024), loss, mseLoss: loss, fvu: loss / 2, l0: 16, sparsityLoss: 0.25, lr: 1e-3 };
}

async function record(trainingRun: string, steps: readonly Row[], dropAfterStep?: bigint): Promise<number> {
  const request: MessageInitShape<typeof RecordTrainingMetricsRequestSchema> = { trainingRun, rows: [...steps] };
  return (await service.index.recordTrainingMetrics(dropAfterStep === undefined ? request : { ...request, dropAfterStep })).rows;
}

const lossesOf = async (run: string): Promise<unknown[][]> => (await rows(`SELECT step, loss FROM training_metrics WHERE training_run = 'trainingRuns/${run}'`)).map(({ step: at, loss }) => [at, loss]);

describe("training metrics", () => {
  it("are read by SQL users under the names of the contract", async () => {
    expect(await record("trainingRuns/named", [step(1), step(4)])).toBe(2);
    const [first, second] = await rows("SELECT * FROM training_metrics WHERE training_run = 'trainingRuns/named'");
    expect(first).toMatchObject({ training_run: "trainingRuns/named", step: 1, n_training_tokens: 1024, loss: 1, fvu: 0.5, l0: 16, sparsity_loss: 0.25, lr: 1e-3, aux_loss: 0, dead_fraction: 0 });
    expect(second).toMatchObject({ step: 4, loss: 0.25 });
  });

  it("that come twice are kept once, the last ones", async () => {
    await record("trainingRuns/twice", [step(1), step(2), step(3)]);
    await record("trainingRuns/twice", [step(2, 7), step(3, 8), step(4, 9)]);
    expect(await lossesOf("twice")).toEqual([[1, 1], [2, 7], [3, 8], [4, 9]]);
  });

  it("after the checkpoint that a run went back to are dropped, those of other runs are not", async () => {
    await record("trainingRuns/back", [step(1, 1), step(2, 2), step(5, 5), step(9, 9)]);
    await record("trainingRuns/other", [step(1, 1), step(9, 9)]);
    await record("trainingRuns/back", [step(3, 3)], 2n);
    expect(await lossesOf("back")).toEqual([[1, 1], [2, 2], [3, 3]]);
    expect(await lossesOf("other")).toEqual([[1, 1], [9, 9]]);
    expect(await record("trainingRuns/back", [], 0n)).toBe(0);
    expect(await lossesOf("back")).toEqual([]);
  });

  it("are refused when the run or the order of steps is wrong", async () => {
    await expect(record("runs/a", [step(1)])).rejects.toMatchObject({ code: Code.InvalidArgument, violations: [{ field: "training_run" }] });
    await expect(record("trainingRuns/a", [step(2), step(2)])).rejects.toMatchObject({ code: Code.InvalidArgument, violations: [{ field: "rows[1].step" }] });
    await expect(record("trainingRuns/a", [step(0)])).rejects.toMatchObject({ violations: [{ field: "rows[0].step" }] });
  });

  it("are no more writable for SQL users than other views", async () => {
    await expect(rows("INSERT INTO training_metrics (training_run) VALUES ('a')")).rejects.toMatchObject({ code: Code.PermissionDenied });
    await expect(rows("SELECT * FROM mistral_sae.training_metrics")).rejects.toMatchObject({ code: Code.PermissionDenied });
  });
});
