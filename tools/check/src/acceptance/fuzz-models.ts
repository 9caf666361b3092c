import { fileURLToPath } from "node:url";
import { fuzzInChildren, type FuzzSummary } from "./fuzz-in-children.ts";

/** Opens model folders with damaged weight files ("headers") or configurations ("configs"), made from a seed. */
export async function fuzzModels(what: "headers" | "configs", options: { readonly cases: number; readonly seed: number }): Promise<FuzzSummary> {
  return await fuzzInChildren(fileURLToPath(new URL("fuzz-model-cases.ts", import.meta.url)), [what], options);
}

// node tools/check/src/acceptance/fuzz-models.ts [headers] [configs] [seed]
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [headers = 50_000, configs = 20_000, seed = 1] = process.argv.slice(2).map(Number);
  const results = { headers: await fuzzModels("headers", { cases: headers, seed }), configs: await fuzzModels("configs", { cases: configs, seed }) };
  process.stdout.write(`${JSON.stringify(results, undefined, 2)}\n`);
  process.exitCode = Object.values(results).some(({ faults }) => faults.length > 0) ? 1 : 0;
}
