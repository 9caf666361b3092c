import { fileURLToPath } from "node:url";
import { fuzzInChildren, type FuzzSummary } from "./fuzz-in-children.ts";

/** Loads and runs damaged SAEs of every format, pickles above all, made from a seed. */
export async function fuzzSaes(options: { readonly cases: number; readonly seed: number }): Promise<FuzzSummary> {
  return await fuzzInChildren(fileURLToPath(new URL("fuzz-sae-cases.ts", import.meta.url)), [], options);
}

// node tools/check/src/acceptance/fuzz-saes.ts [cases] [seed]
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [cases = 10_000, seed = 1] = process.argv.slice(2).map(Number);
  const summary = await fuzzSaes({ cases, seed });
  process.stdout.write(`${JSON.stringify(summary, undefined, 2)}\n`);
  process.exitCode = summary.faults.length === 0 ? 0 : 1;
}
