import { runInferenceBench } from "./inference/inference-bench.ts";
import { runTrainingBench } from "./training/training-bench.ts";

const benches: Readonly<Record<string, (args: readonly string[]) => Promise<void>>> = { inference: runInferenceBench, training: runTrainingBench };

const [name = "", ...args] = process.argv.slice(2);
const bench = benches[name];
if (bench === undefined) {
  console.error(`no benchmark "${name}"; there is: ${Object.keys(benches).join(", ")}\nusage: npm run bench -- training | inference [options] (tools/bench/README.md)`);
  process.exitCode = 2;
} else {
  try {
    await bench(args);
  } catch (error) {
    console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}
