import { execFile } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { timedCells, type Cell } from "../../src/inference/cells.ts";
import { takeTurns, type CellReport } from "../../src/inference/measure.ts";
import type { Contender, Work } from "../../src/inference/work.ts";

const run = promisify(execFile);
const main = join(import.meta.dirname, "../../src/main.ts");
const work: Work = { work: "decode", batch: 1, past: 4, steps: 10 };
const cell: Cell = { id: "demo/decode/f32", shape: "demo", precision: "f32", subject: "engine", work, rivals: [{ name: "peer", peer: "transformers", work, wanted: 1.5 }] };
let root = "";

async function bench(...args: readonly string[]): Promise<{ readonly stdout: string }> {
  const env = { ...process.env, MISTRAL_SAE_BENCH_PYTHON: "", MISTRAL_SAE_BENCH_LLAMA_BENCH: "", MISTRAL_SAE_BENCH_TRANSFORMERS_JS: "" };
  return await run(process.execPath, [main, "inference", "--shapes", "demo", "--threads", "1", "--models", root, ...args], { env });
}

function contender(name: string, times: readonly number[], turns: string[]): Contender {
  let at = 0;
  return {
    name,
    version: "1",
    run: () => {
      turns.push(name);
      const wallMs = times[at++]!;
      return Number.isNaN(wallMs) ? Promise.reject(new Error("died")) : Promise.resolve({ wallMs, cpuMs: undefined });
    },
  };
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "bench-test-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

describe("turns of a cell", () => {
  it("alternate, the first round warms up, and the ratio is the median of the rounds", async () => {
    const turns: string[] = [];
    const engine = contender("a", [99, 10, 20, 40], turns);
    const peer = contender("b", [99, 20, 20, 100], turns);
    const { figures, ratios } = await takeTurns(cell, { engine, subject: engine, peer: () => peer }, 3);
    expect(turns.join("")).toBe("abababab");
    expect(figures.map(({ tokens_per_second: rate, turns: count }) => [rate, count])).toEqual([
      [500, 3],
      [500, 3],
    ]);
    expect(ratios).toEqual([{ rival: "peer", ratio: 2, lowest: 1, highest: 2.5, wanted: 1.5 }]);
  });

  it("go on without a peer that fails, and name it", async () => {
    const engine = contender("a", [1, 1, 1], []);
    const { figures, missing } = await takeTurns(cell, { engine, subject: engine, peer: () => contender("b", [1, Number.NaN], []) }, 2);
    expect(figures.map(({ name }) => name)).toEqual(["a"]);
    expect(missing).toEqual(["peer: died"]);
  });
});

describe("the inference bench", () => {
  it("has a cell for every comparison, each id once", () => {
    const ids = timedCells().map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toContain("medium/decode/q4");
  });

  it("measures the engine alone without peers, and says what is missing", async () => {
    const { stdout } = await bench("--cells", "decode", "--precisions", "f32", "--rounds", "1");
    expect(stdout).toMatch(/^\| demo\/decode\/f32 \| [\d,.]+ \| not measured: llama\.cpp: no Python/m);
  });

  it("measures the engine against itself, and a peer that speaks the protocol", async () => {
    const python = join(root, "python");
    await writeFile(python, `#!/usr/bin/env node\nconsole.log('{"version":"9.9"}');\nrequire("node:readline").createInterface({ input: process.stdin }).on("line", () => console.log('{"wall_ms":5000,"cpu_ms":7}'));\n`);
    await chmod(python, 0o755);
    const { stdout } = await bench("--cells", "harvest,steered", "--rounds", "1", "--python", python, "--json");
    const { cells } = JSON.parse(stdout) as { readonly cells: readonly CellReport[] };
    expect(cells.map(({ id }) => id)).toEqual(["demo/harvest/f32", "demo/steered/f32"]);
    expect(cells[0]!.figures[1]).toMatchObject({ name: "transformers", version: "9.9", wall_ms_median: 5000 });
    expect(cells[1]!.ratios[0]).toMatchObject({ rival: "unsteered", wanted: 0.97 });
  });

  it("refuses names that it does not know, saying which there are", async () => {
    await expect(bench("--cells", "dcode")).rejects.toThrow('--cells: got "dcode", wanted some of decode, prefill512');
    await expect(bench("--peers", "vllm")).rejects.toThrow('--peers: got "vllm", wanted some of llama.cpp, transformers, transformers.js, none');
    await expect(bench("--rounds", "0")).rejects.toThrow('--rounds: got "0"');
  });
});
