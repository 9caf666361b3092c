import type { RunningServer } from "@mistral-sae/rpc";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runRemoteTraining } from "../src/commands/train-run.ts";
import { Output } from "../src/output.ts";
import { startFakeGateway } from "./support/fake-gateway.ts";

let server: RunningServer;
beforeAll(async () => {
  ({ server } = await startFakeGateway());
});
afterAll(() => server.close(0));

function capture(json: boolean) {
  const written = { stdout: "", stderr: "" };
  const stream = (name: "stdout" | "stderr") => ({
    write: (text: string) => {
      written[name] += text;
    },
  });
  return { written, output: new Output({ json, quiet: false, stdout: stream("stdout"), stderr: stream("stderr") }) };
}

test("a run is followed to its end, across a restart of its service", async () => {
  const { written, output } = capture(false);
  const context = { output, signal: new AbortController().signal, address: server.address };
  const run = await runRemoteTraining(context, { config: { hookName: "blocks.2.hook_resid_pre", k: 16 } });
  expect(run.saeUri).toBe("/data/r1/sae");
  expect(written.stdout).toContain("CE recovered");
  for (const stage of ["harvest", "train", "evaluate"]) expect(written.stderr).toMatch(new RegExp(`^${stage} `, "m"));
});

test("a run left alone is returned at once, and a refused configuration names its field", async () => {
  const { written, output } = capture(true);
  const context = { output, signal: new AbortController().signal, address: server.address };
  await runRemoteTraining(context, { config: { k: 16 }, detach: true });
  expect(JSON.parse(written.stdout)).toMatchObject({ name: "trainingRuns/r1", state: "TRAINING_RUN_STATE_QUEUED" });
  await expect(runRemoteTraining(context, { config: { k: 0 } })).rejects.toThrow("config.k: got 0, wanted 1 to d_sae");
});
