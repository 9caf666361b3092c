/**
 * `npm test`: lint, types and tests of every project through nx, then one line that counts the tests:
 * `N passed, N failed, N skipped`. Arguments name the projects to test; none is all.
 */
import { spawnSync } from "node:child_process";
import { glob, readFile, rm } from "node:fs/promises";
import { join } from "node:path";

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

function nx(targets: readonly string[], parallel: number): boolean {
  const scope = projects.length > 0 ? ["-p", projects.map((name) => `@mistral-sae/${name}`).join(",")] : [];
  const args = ["run-many", "-t", ...targets, ...scope, `--parallel=${parallel}`, "--outputStyle=static", "--nxBail=false"];
  return spawnSync("nx", args, { cwd: root, stdio: "inherit" }).status === 0;
}

for await (const file of glob("{libs,services,tools}/*/test-results.json", { cwd: root })) await rm(join(root, file));

const checked = nx(["generate", "lint", "typecheck"], 2);
// Tests hold engines, servers and every core they are given: one project at a time.
const tested = nx(["test"], 1);

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
if (!tested && problems.length === 0) {
  counts.failed += 1;
  problems.push("a test run ended with an error outside its tests: see above");
}
for (const problem of problems) console.log(`failed: ${problem}`);
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed > 0 ? 1 : 0;
