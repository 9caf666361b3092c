/**
 * `npm test`: lint, types and tests of every project through nx, then one line that counts the tests:
 * `N passed, N failed, N skipped`. Arguments name the projects to test; none is all.
 */
import { spawn, spawnSync } from "node:child_process";
import { glob, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { stripVTControlCharacters } from "node:util";

const root = join(import.meta.dirname, "..", "..", "..");
const projects = process.argv.slice(2);

/** The part of vitest's JSON report that is read. */
interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

function nxArguments(targets: readonly string[], parallel: number, only: readonly string[]): string[] {
  const scope = only.length > 0 ? ["-p", only.join(",")] : [];
  return ["run-many", "-t", ...targets, ...scope, `--parallel=${parallel}`, "--outputStyle=static", "--nxBail=false"];
}

/**
 * Node 24 ends a process now and then where many threads compile (V8's "Check failed: jit_page", nodejs/node#64500, or a signal
 * in its collector, nodejs/node#62393). These lines tell that a process died, not that a test failed, and why.
 */
const processDied = /Worker exited unexpectedly|Check failed:|Fatal error in/;

/** Runs the tests of projects, one at a time. `failed` are those that failed; `lost` tells what was printed of a process that died. */
async function runTests(only: readonly string[]): Promise<{ failed: Set<string>; lost: Map<string, string> }> {
  const run = spawn("nx", nxArguments(["test"], 1, only), { cwd: root, stdio: ["inherit", "pipe", "pipe"] });
  const lost = new Map<string, string>();
  const failed = new Set<string>();
  let current = "";
  const read = async (stream: NodeJS.ReadableStream, out: NodeJS.WritableStream): Promise<void> => {
    for await (const line of createInterface({ input: stream })) {
      out.write(`${line}\n`);
      // npm's own line before a script.
      current = /^> (@mistral-sae\/[\w-]+)@\S+ test$/.exec(line)?.[1] ?? current;
      // A line of nx's list of failed tasks.
      const task = /^- (@mistral-sae\/[\w-]+):test$/.exec(stripVTControlCharacters(line).trim())?.[1];
      if (task !== undefined) failed.add(task);
      if (processDied.test(line)) lost.set(current, `${lost.has(current) ? `${lost.get(current)}; ` : ""}${stripVTControlCharacters(line).trim()}`);
    }
  };
  const [code] = await Promise.all([new Promise<number | null>((resolve) => run.once("close", resolve)), read(run.stdout, process.stdout), read(run.stderr, process.stderr)]);
  if (code !== 0 && failed.size === 0) failed.add("nx itself");
  return { failed, lost };
}

const named = projects.map((name) => `@mistral-sae/${name}`);

for await (const file of glob("{libs,services,tools}/*/test-results.json", { cwd: root })) await rm(join(root, file));

const checked = spawnSync("nx", nxArguments(["generate", "lint", "typecheck"], 2, named), { cwd: root, stdio: "inherit" }).status === 0;
// Tests hold engines, servers and every core they are given: one project at a time.
const { failed, lost } = await runTests(named);
const again = [...lost.keys()].filter((project) => failed.delete(project));
if (again.length > 0) {
  for (const project of again) console.log(`a process of ${project} died and is tested again, once: ${lost.get(project)}`);
  for (const project of (await runTests(again)).failed) failed.add(project);
}

const counts = { passed: 0, failed: 0, skipped: 0 };
const problems: string[] = [];
for await (const file of glob("{libs,services,tools}/*/test-results.json", { cwd: root })) {
  const report = JSON.parse(await readFile(join(root, file), "utf8")) as Report;
  for (const suite of report.testResults) {
    if (suite.status === "failed" && suite.assertionResults.length === 0) {
      counts.failed += 1;
      problems.push(`${suite.name}: ${suite.message}`);
    }
    for (const { status, fullName } of suite.assertionResults) {
      if (status === "passed") counts.passed += 1;
      else if (status === "failed") {
        counts.failed += 1;
        problems.push(fullName);
      } else counts.skipped += 1;
    }
  }
}
if (!checked) {
  counts.failed += 1;
  problems.push("lint, types or generation: see above");
}
if (failed.size > 0 && problems.length === 0) {
  counts.failed += 1;
  problems.push(`${[...failed].join(", ")}: a test run ended with an error outside its tests, see above`);
}
for (const [project, why] of lost) console.log(`a process of ${project} died: ${why}`);
for (const problem of problems) console.log(`failed: ${problem}`);
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed > 0 ? 1 : 0;
