import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import type { RunningServer } from "@mistral-sae/rpc";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { SAE, startFakeGateway, type Asked } from "./support/fake-gateway.ts";
import { runCli, type CliOptions } from "./support/run-cli.ts";

let server: RunningServer;
let asked: Asked;

beforeAll(async () => {
  ({ server, asked } = await startFakeGateway());
});
afterAll(() => server.close(0));

const cli = (args: readonly string[], options: CliOptions = {}) => runCli(args, { ...options, env: { MISTRAL_SAE_ADDRESS: server.address, ...options.env } });
const stockNode = ["/usr/bin/node", "/usr/local/bin/node"].find((path) => existsSync(path) && Number(execFileSync(path, ["-p", "process.versions.node"], { encoding: "utf8" }).split(".")[0]) < 24);
if (stockNode === undefined) console.log("cli.test.ts: the launcher under an older Node is skipped, none is installed");

describe("usage", () => {
  test("--help names every group of verbs and the exit codes", async () => {
    const { code, stdout } = await runCli(["--help"]);
    expect(code).toBe(0);
    for (const verb of ["demo", "up", "model", "generate", "train", "sae", "index", "explain", "score", "steer", "jobs", "bench"]) {
      expect(stdout).toMatch(new RegExp(`^  ${verb}\\b`, "m"));
    }
    expect(stdout).toContain("Exit codes: 0 done");
  });

  test("the help of a verb shows the options that hold everywhere", async () => {
    const { stdout } = await runCli(["index", "feature", "--help"]);
    expect(stdout).toContain("--address <host:port>");
    expect(stdout).toContain("--examples <n>");
  });

  test.each([
    [["frob"], "unknown command 'frob'"],
    [["jobs", "ls", "--limit", "many"], 'wanted a whole number, got "many"'],
    [["generate"], "missing required argument 'prompt'"],
    [["generate", "a", "--top-p", "2"], 'wanted at most 1, got "2"'],
    [["index", "build"], "required option '--corpus <corpus>' not specified"],
  ])("bad usage ends with 2 and says what was wanted: %s", async (args, message) => {
    const { code, stderr, stdout } = await cli(args);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
    expect(stderr).toContain("--help");
    expect(stdout).toBe("");
  });

  test("bad usage with --json is told as JSON only", async () => {
    const { code, stderr } = await cli(["frob", "--json"]);
    expect(code).toBe(2);
    expect(JSON.parse(stderr)).toEqual({ error: { message: "unknown command 'frob'", exitCode: 2, hint: "add --help for usage" } });
  });

  test("a group without a verb shows its help and ends with 2", async () => {
    const { code, stderr } = await cli(["index"]);
    expect(code).toBe(2);
    expect(stderr).toContain("Usage: mistral-sae index");
  });

  test.skipIf(stockNode === undefined)("an older Node starts the Node that npm brought, and its exit code comes back", async () => {
    expect(await cli(["--version"], { node: stockNode ?? "" })).toEqual({ code: 0, stdout: "0.1.0\n", stderr: "" });
    expect((await cli(["frob"], { node: stockNode ?? "" })).code).toBe(2);
  });
});

test.skipIf(stockNode === undefined)("the command ends when the older Node that started it is killed", async () => {
  asked.cancelled.length = 0;
  const { code } = await cli(["generate", "a", "--max-tokens", "5000"], {
    node: stockNode ?? "",
    onStdout: (child, stdout) => {
      if (stdout.includes(" 1")) child.kill("SIGKILL");
    },
  });
  expect(code).toBeNull();
  await vi.waitFor(() => expect(asked.cancelled).toContain("generate"));
});

describe("exit codes", () => {
  test("a gateway that is not there ends with 4 and says how to start one", async () => {
    const { code, stderr } = await cli(["model", "ls"], { env: { MISTRAL_SAE_ADDRESS: "127.0.0.1:9" } });
    expect(code).toBe(4);
    expect(stderr).toMatch(/^error: cannot reach 127\.0\.0\.1:9/);
    expect(stderr).toContain("mistral-sae up");
  });

  test("what does not exist ends with 3", async () => {
    const { code, stderr } = await cli(["jobs", "show", "operations/training/none"]);
    expect(code).toBe(3);
    expect(stderr).toContain("operations/training/none: does not exist");
  });

  test("a refused value ends with 2 and names field, value and bounds", async () => {
    const { code, stderr } = await cli(["index", "feature", "99"]);
    expect(code).toBe(2);
    expect(stderr).toContain("got feature 99, wanted 0 to 63");
    expect(stderr).toMatch(/field: +name/);
    expect(stderr).toMatch(/reason: +FEATURE_OUT_OF_RANGE/);
  });

  test("with --json the failure is one JSON line on stderr", async () => {
    const { code, stdout, stderr } = await cli(["--json", "generate", "a", "--max-tokens", "9999"]);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(JSON.parse(stderr)).toMatchObject({ error: { exitCode: 2, reason: "TOKEN_LIMIT", field: "sampling.max_tokens" } });
  });

  test("a job that fails ends the command with its reason", async () => {
    const { code, stderr } = await cli(["sae", "evaluate", "--corpus", "a.txt", "b.txt"], { cwd: "/tmp" });
    expect(code).toBe(2);
    expect(stderr).toContain("the corpus holds no held-back document");
    expect(asked.evaluate).toMatchObject([{ sae: SAE, corpus: { uri: "/tmp/a.txt\n/tmp/b.txt" } }]);
  });

  test("probing is shown as a table of tasks and one of letters", async () => {
    const { code, stdout } = await cli(["sae", "probe", "--corpus", "a.txt", "--kinds", "letter,word", "--ks", "1,5", "--absorption", "--tokens", "50000"], { cwd: "/tmp" });
    expect(code).toBe(0);
    expect(asked.probe).toMatchObject([{ sae: SAE, corpus: { uri: "/tmp/a.txt" }, kinds: [2, 1], ks: [1, 5], absorption: true, tokens: 50_000n }]);
    expect(stdout).toMatch(/^letter:s +2,000 +1,000 +0\.840 +0\.960 +0\.550 +0\.620 +362 237$/m);
    expect(stdout).toMatch(/^mean +0\.840 +0\.960 +0\.550 +0\.620$/m);
    expect(stdout).toMatch(/^s +419 +0\.250 +0\.500 +635 2022 +1618$/m);
  });

  test("several hooks are harvested in one call and shown one a line", async () => {
    const { code, stdout } = await cli(["harvest", "--hook-names", "blocks.2.hook_resid_pre,blocks.1.mlp.hook_post", "--corpus", "a.txt", "--tokens", "50000", "--activation-dtype", "f16"], { cwd: "/tmp" });
    expect(code).toBe(0);
    expect(asked.harvest).toMatchObject([{ hookNames: ["blocks.2.hook_resid_pre", "blocks.1.mlp.hook_post"], corpus: { uri: "/tmp/a.txt" }, tokens: 50_000n, activationDtype: DataType.F16 }]);
    expect(stdout).toMatch(/^blocks\.2\.hook_resid_pre +192 +51,234 +3 +\/data\/activations\/0$/m);
    expect(stdout).toMatch(/^blocks\.1\.mlp\.hook_post +193 +51,234 +3 +\/data\/activations\/1$/m);
  });

  test("Ctrl-C cancels the call and ends with 130", async () => {
    const { code, stderr } = await cli(["generate", "a", "--max-tokens", "5000"], {
      onStdout: (child, stdout) => {
        if (stdout.includes(" 1")) child.kill("SIGINT");
      },
    });
    expect(code).toBe(130);
    expect(stderr).toContain("interrupted");
    expect(asked.cancelled).toContain("generate");
  });
});

describe("results", () => {
  test("lists are tables, and with --json arrays with the names of the contracts", async () => {
    const table = await cli(["sae", "ls"]);
    expect(table.stdout.split("\n")[0]).toMatch(/^NAME +STATE +HOOK/);
    expect(table.stdout).toContain(SAE);
    const json = JSON.parse((await cli(["sae", "ls", "--json"])).stdout) as readonly unknown[];
    expect(json).toMatchObject([{ name: SAE, d_sae: 64, k: 16, hook_name: "blocks.2.hook_resid_pre" }]);
  });

  test("all pages are read up to the limit", async () => {
    const json = JSON.parse((await cli(["index", "features", "--json", "--limit", "8"])).stdout) as readonly { readonly feature_index: number }[];
    expect(json.map((row) => row.feature_index)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  test("a feature reads as a page and as JSON", async () => {
    const { stdout } = await cli(["index", "feature", "12"]);
    expect(stdout).toContain("ships at sea");
    expect(stdout).toContain('" ship" 2');
    expect(JSON.parse((await cli(["index", "feature", "12", "--json"])).stdout)).toMatchObject({ feature_index: 12, max_activation: 9.5 });
  });

  test("generated text streams to stdout, and the prompt may come from stdin", async () => {
    expect((await cli(["generate", "-"], { stdin: "Once" })).stdout).toBe("Once 4 4 4\n");
    const events = (await cli(["generate", "Once", "--json"])).stdout.trim().split("\n").map((line) => JSON.parse(line) as object);
    expect(events.map((event) => Object.keys(event)[0])).toEqual(["started", "step", "step", "step", "finished"]);
  });

  test("steering prints the unsteered text beside the steered one and the proof", async () => {
    const { stdout, stderr } = await cli(["steer", "text", "It was", "--words", "ship", "--strength", "0.5"]);
    expect(stdout).toBe("── baseline\nIt was a plain day\n\n── steered\nIt was a ship sailed\n");
    expect(stderr).toContain('"ship" is feature 7 (ships)');
    expect(stderr).toContain("steered 1 of 1 steps");
    await cli(["steer", "text", "It was", "--feature", "7:0.3", "--no-baseline"]);
    expect(asked.steer).toMatchObject([
      { variants: [{ queries: [{ query: "ship", strength: 0.5 }] }] },
      { withoutBaseline: true, variants: [{ interventions: [{ strength: 0.3, target: { case: "feature", value: { sae: SAE, featureIndex: 7 } } }] }] },
    ]);
  });

  test("SQL reads as a table, and with --json as one row a line", async () => {
    const { stdout } = await cli(["index", "sql", "SELECT 1", "--param", "w=ship"]);
    expect(stdout).toBe("A  WORD\n1  ship\n2  SELECT 1\n");
    expect((await cli(["index", "sql", "SELECT 1", "--json"])).stdout.trim().split("\n")).toHaveLength(2);
    expect((await cli(["index", "sql", "--saved", "mine", "--format", "csv"])).stdout).toBe("a,word\n1,\n2,\n");
    expect(await cli(["index", "sql", "SELECT 1", "--saved", "mine"])).toMatchObject({ code: 2, stderr: expect.stringContaining("cannot both be given") as string });
  });

  test("explanations are one now or many as a job", async () => {
    expect((await cli(["explain", "3"])).stdout).toContain("local summary (no LLM)");
    expect(JSON.parse((await cli(["explain", "--all", "--json"])).stdout)).toMatchObject({ n_ok: "64" });
  });
});

describe("jobs", () => {
  test("are followed with progress on stderr, their warnings once, their result on stdout", async () => {
    const { stdout, stderr, code } = await cli(["index", "build", "--corpus", "stories"]);
    expect(code).toBe(0);
    expect(stdout).toContain("16,000");
    expect(stderr.match(/2 documents are empty/g)).toHaveLength(1);
    expect(stderr).toContain("succeeded");
    const quiet = await cli(["index", "build", "--corpus", "stories", "--quiet", "--json"]);
    expect(JSON.parse(quiet.stdout)).toMatchObject({ name: "indexes/a", n_activations: "16000" });
    expect(quiet.stderr).toBe("warning: 2 documents are empty\n");
  });

  test("are listed, shown with what they made, and cancelled", async () => {
    expect((await cli(["jobs", "ls"])).stdout).toContain("25% of 1,000 tokens");
    expect(JSON.parse((await cli(["jobs", "show", "operations/feature-index/done", "--json"])).stdout)).toMatchObject({ response: { name: "indexes/a" } });
    expect((await cli(["jobs", "cancel", "operations/feature-index/goes"])).stdout).toContain("cancelled");
    expect(asked.cancelled).toContain("operations/feature-index/goes");
  });
});
