import { execFile } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Contender } from "../../src/training/contender.ts";
import { takeTurns } from "../../src/training/measure.ts";

const run = promisify(execFile);
const main = join(import.meta.dirname, "../../src/main.ts");
const [rows, shape] = [128, { dIn: 16, dSae: 64, k: 4, batch: 128 }];
let root = "";

async function bench(...args: readonly string[]): Promise<{ readonly stdout: string; readonly stderr: string }> {
  return await run(process.execPath, [main, "training", "--shape", Object.values(shape).join(","), "--architectures", "topk", "--dead", "0", "--rounds", "3", "--threads", "1", ...args], { env: { ...process.env, MISTRAL_SAE_BENCH_PYTHON: "" } });
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "bench-test-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

describe("the training bench", () => {
  it("gives every contender its turn on every batch, and medians against the first", async () => {
    const turns: string[] = [];
    const contender = (name: string, times: readonly number[]): Contender => {
      let at = 0;
      return {
        name,
        version: "1",
        step: (batch) => {
          turns.push(`${name}${batch}`);
          return Promise.resolve({ wallMs: times[at++ % times.length]!, cpuMs: 1, peakRss: 5, loss: 1 });
        },
      };
    };
    const figures = await takeTurns([contender("a", [9, 9, 1, 2, 3]), contender("b", [9, 9, 4, 10, 4])], rows, 3, 0);
    expect(turns.join(" ")).toBe("a0 b0 a1 b1 a0 b0 a1 b1 a2 b2");
    expect(figures.map(({ wall_ms_median, wall_ms_best, times_ours, tokens_per_second }) => [wall_ms_median, wall_ms_best, times_ours, tokens_per_second])).toEqual([
      [2, 1, 1, 64_000],
      [4, 4, 2, 32_000],
    ]);
  });

  it("measures this trainer alone without a Python, and says what is missing", async () => {
    const { stdout } = await bench();
    expect(stdout).toContain("topk, d_in 16, d_sae 64, k 4, batch 128, 0% dead, 1 threads, 3 steps each");
    expect(stdout).toMatch(/mistral-sae +this project/);
    expect(stdout).toContain("not measured: sparsify (no Python with the peers: give --python or $MISTRAL_SAE_BENCH_PYTHON");
    const { cells } = JSON.parse((await bench("--json")).stdout) as { cells: { contenders: { name: string; steps: number; last_loss: number; first_loss: number }[] }[] };
    const [ours] = cells[0]!.contenders;
    expect(ours).toMatchObject({ name: "mistral-sae", steps: 3 });
    expect(ours!.last_loss).toBeLessThan(ours!.first_loss);
  });

  it("takes turns with the peers that a Python has, and names those that it lacks", async () => {
    const python = join(root, "python");
    const missing = { peer: "original", reason: "ModuleNotFoundError: no" };
    const answers = { sparsify: { ready: [{ peer: "sparsify", version: "9.9" }], missing: [] }, original: { ready: [], missing: [missing] } };
    // Stands in for the Python of the peers: speaks its protocol, and takes 5 ms a step by its own account.
    await writeFile(python, `#!/usr/bin/env node\nconsole.log(JSON.stringify(${JSON.stringify(answers)}[process.argv[process.argv.indexOf("--peers") + 1]]));\nrequire("node:readline").createInterface({ input: process.stdin }).on("line", () => console.log('{"wall_ms":5,"cpu_ms":7,"peak_rss":9000000,"loss":0.5}'));\n`);
    await chmod(python, 0o755);
    const { stdout } = await bench("--python", python, "--json", "--only", "mistral-sae,sparsify,original");
    const { cells } = JSON.parse(stdout) as { cells: { contenders: unknown[]; missing: unknown[] }[] };
    expect(cells[0]!.contenders[1]).toMatchObject({ name: "sparsify", version: "9.9", wall_ms_median: 5, peak_rss: 9e6, cpu_ms_median: 7, tokens_per_second: 25_600 });
    expect(cells[0]!.missing).toEqual([missing]);
  });

  it("tells what a Python that cannot run the peers said", async () => {
    await expect(bench("--python", join(root, "none"))).rejects.toThrow("ENOENT");
    await expect(bench("--python", "/bin/false")).rejects.toThrow("/bin/false ended");
    await expect(bench("--shape", "1,2")).rejects.toThrow('--shape: got "1,2", wanted d_in,d_sae,k,batch');
  });
});
