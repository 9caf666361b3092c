import type { RunningServer } from "@mistral-sae/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { axesOf } from "../src/train/sweep-axes.ts";
import { startFakeGateway, type Asked } from "./support/fake-gateway.ts";
import { runCli, type CliRun } from "./support/run-cli.ts";

let server: RunningServer;
let asked: Asked;
beforeAll(async () => {
  ({ server, asked } = await startFakeGateway());
});
afterAll(() => server.close(0));

const cli = (...args: readonly string[]): Promise<CliRun> => runCli(["--address", server.address, ...args]);

const common = ["--corpus", "/texts", "--hook-name", "blocks.2.hook_resid_pre", "--d-sae", "2048", "--training-tokens", "1000000"];

describe("sweep", () => {
  it("creates one from axes, follows it and prints the table, sorted", async () => {
    const { code, stdout } = await cli("sweep", "create", ...common, "--axis", "k=4,16", "--axis", "architecture=topk,batchtopk", "--parallel-runs", "2", "--sort", "fvu");
    expect(code).toBe(0);
    expect(asked.sweep.at(-1)).toMatchObject({ parallelRuns: 2, axes: [{ field: "k", values: ["4", "16"] }, { field: "architecture", values: ["topk", "batchtopk"] }], config: { dSae: 2048, k: 0, trainingTokens: 1_000_000n } });
    const rows = stdout.split("\n").slice(stdout.split("\n").findIndex((line) => line.startsWith("RUN")));
    expect(rows[0]).toMatch(/^RUN\s+K\s+ARCHITECTURE\s+STATE\s+STEP\s+FVU\s+L0\s+DEAD\s+CE REC\.\s+KL REC\.\s+TRAIN/);
    expect(rows.slice(1, 5).map((row) => row.split(/\s+/)[0])).toEqual(["grid-4", "grid-3", "grid-2", "grid-1"]);
    expect(rows[2]).toMatch(/grid-3\s+16\s+topk\s+succeeded\s+50\s+0\.1\s+16\s+0%\s+90%/);
  });

  it("shows, lists and stops, as JSON where asked for", async () => {
    const shown = await cli("--json", "sweep", "show", "grid", "--sort", "ce-recovered", "--desc");
    expect((JSON.parse(shown.stdout) as { results: { training_run: string; trainingRun: string }[] }).results.map((row) => row.training_run ?? row.trainingRun)).toEqual(["trainingRuns/grid-3", "trainingRuns/grid-2", "trainingRuns/grid-1", "trainingRuns/grid-4"]);
    expect((await cli("sweep", "list")).stdout).toMatch(/sweeps\/grid\s+running\s+3 of 4\s+k=4,16 architecture=topk,batchtopk/);
    expect((await cli("sweep", "stop", "sweeps/grid")).stdout).toMatch(/state\s+stopped/);
    expect((await cli("sweep", "show", "other")).code).toBe(3);
  });

  it("names what is wrong before anything starts", async () => {
    const before = asked.sweep.length;
    expect((await cli("sweep", "create", ...common)).stderr).toContain("--axis");
    expect((await cli("sweep", "create", ...common, "--axis", "k")).stderr).toContain("field=value");
    expect((await cli("sweep", "create", ...common, "--axis", "seed=1,2")).stderr).toContain("--k");
    expect((await cli("sweep", "create", ...common, "--axis", "k=4", "--sort", "seed")).stderr).toContain("k, fvu, l0");
    expect(asked.sweep).toHaveLength(before);
  });

  it("reads lists in brackets and dashes in names", () => {
    expect(axesOf(["matryoshka-widths=[64,128],[256]", 'architecture="topk",gated'])).toEqual([
      { field: "matryoshka_widths", values: ["[64,128]", "[256]"] },
      { field: "architecture", values: ['"topk"', "gated"] },
    ]);
  });
});

describe("train", () => {
  it("hands the options of an architecture to the service", async () => {
    const { code } = await cli("train", ...common, "--architecture", "matryoshka_batchtopk", "--k", "16", "--k-start", "64", "--k-anneal-steps", "100", "--matryoshka-widths", "256,1024", "--stream-activations", "--detach");
    expect(code).toBe(0);
    expect(asked.train.at(-1)).toMatchObject({ architecture: "matryoshka_batchtopk", k: 16, kStart: 64, kAnnealSteps: 100, matryoshkaWidths: [256, 1024], streamActivations: true });
    const penalised = await cli("train", ...common, "--architecture", "jumprelu", "--l0-coefficient", "0.5", "--jumprelu-sparsity-loss-mode", "tanh", "--hook-name-out", "blocks.2.hook_mlp_out", "--skip-connection", "--detach");
    expect(penalised.stderr).toBe("");
    expect(asked.train.at(-1)).toMatchObject({ architecture: "jumprelu", k: 0, l0Coefficient: 0.5, jumpreluSparsityLossMode: "tanh", hookNameOut: "blocks.2.hook_mlp_out", skipConnection: true });
  });

  it("fits a preset to the model that is served, and says how", async () => {
    const { stderr, code } = await cli("train", "--preset", "mistral-7b-layer16", "--corpus", "/texts", "--k", "9", "--detach");
    expect(code).toBe(0);
    expect(stderr).toContain("d_sae 131,072 -> 8,192 (32 times d_in, which is 256 here)");
    expect(asked.train.at(-1)).toMatchObject({ hookName: "blocks.3.hook_resid_post", dSae: 8192, k: 9, kAux: 128, contextSize: 200, normalizeActivations: "layer_norm" });
    expect((await cli("train", "--preset", "mistral-7b-layer16")).stderr).toContain("monology/pile-uncopyrighted");
  });
});
