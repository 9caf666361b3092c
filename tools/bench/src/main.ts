import { runHarvestBench } from "./harvest/harvest-bench.ts";
import { runIndexBench } from "./index/index-bench.ts";
import { runImportsBench } from "./index/imports.ts";
import { runInferenceBench } from "./inference/inference-bench.ts";
import { runSevenB } from "./inference/seven-b.ts";
import { runTrainingBench } from "./training/training-bench.ts";

const benches: Readonly<Record<string, (args: readonly string[]) => Promise<void>>> = { harvest: runHarvestBench, imports: runImportsBench, index: runIndexBench, inference: runInferenceBench, "mistral-7b": runSevenB, training: runTrainingBench };

const [name = "", ...args] = process.argv.slice(2);
const bench = benches[name];
if (bench === undefined) {
  console.error(`no benchmark "${name}"; there is: ${Object.keys(benches).join(", ")}\nusage: npm run bench -- training | inference | harvest | imports | index | mistral-7b [options] (tools/bench/README.md)`);
  process.exitCode = 2;
} else {
  try {
    await bench(args);
  } catch (error) {
    console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}
