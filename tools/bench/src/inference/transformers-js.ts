/**
 * Runs one exported model with transformers.js and measures what is asked for on stdin, one line a turn (see work.ts).
 *
 * node transformers-js.ts PACKAGE_FOLDER MODEL_FOLDER THREADS
 *
 * PACKAGE_FOLDER is where @huggingface/transformers was installed: it is no dependency of this project.
 */
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { Random } from "@mistral-sae/sae";
import type { Work } from "./work.ts";

type Int64Tensor = object;

interface Generation {
  readonly inputs: Int64Tensor;
  readonly attention_mask: Int64Tensor;
  readonly max_new_tokens: number;
  readonly min_new_tokens: number;
  readonly do_sample: false;
}

interface Model {
  readonly config: { readonly vocab_size: number };
  generate(options: Generation): Promise<unknown>;
  dispose(): Promise<unknown>;
}

/** What is used of the package. */
interface Package {
  readonly env: { readonly version: string; allowRemoteModels: boolean; localModelPath: string };
  readonly Tensor: new (type: "int64", data: BigInt64Array, dims: readonly number[]) => Int64Tensor;
  readonly AutoModelForCausalLM: { from_pretrained(name: string, options: object): Promise<Model> };
}

const [packageFolder = "", modelDir = "", threads = "2"] = process.argv.slice(2);
const entry = createRequire(join(packageFolder, "package.json")).resolve("@huggingface/transformers");
const { env, Tensor, AutoModelForCausalLM } = (await import(pathToFileURL(entry).href)) as Package;
env.allowRemoteModels = false;
env.localModelPath = dirname(modelDir);
const model = await AutoModelForCausalLM.from_pretrained(basename(modelDir), { dtype: "fp32", device: "cpu", local_files_only: true, session_options: { intraOpNumThreads: Number(threads), interOpNumThreads: 1 } });
const random = new Random(0);

console.log(JSON.stringify({ version: env.version }));
for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log(JSON.stringify(await turn(JSON.parse(line) as Work)));
  } catch (error) {
    console.log(JSON.stringify({ error: error instanceof Error ? error.message : String(error) }));
  }
}
await model.dispose();

async function turn(work: Work): Promise<object> {
  if (work.work === "prefill") return await generated(work.batch, work.tokens, 1, work.times);
  if (work.work !== "decode") throw new Error(`transformers.js does not measure ${work.work}`);
  // generate() begins with the prompt; the same without the steps is taken off.
  const prompt = await generated(work.batch, work.past, 1);
  const whole = await generated(work.batch, work.past, work.steps + 1);
  return { wall_ms: whole.wall_ms - prompt.wall_ms, cpu_ms: whole.cpu_ms - prompt.cpu_ms };
}

async function generated(batch: number, past: number, tokens: number, times = 1): Promise<{ readonly wall_ms: number; readonly cpu_ms: number }> {
  const ids = BigInt64Array.from({ length: batch * past }, () => BigInt(5 + (random.nextUint32() % (model.config.vocab_size - 5))));
  const options: Generation = {
    inputs: new Tensor("int64", ids, [batch, past]),
    attention_mask: new Tensor("int64", new BigInt64Array(batch * past).fill(1n), [batch, past]),
    max_new_tokens: tokens,
    min_new_tokens: tokens,
    do_sample: false,
  };
  const cpu = process.cpuUsage();
  const wall = performance.now();
  for (let i = 0; i < times; i++) await model.generate(options);
  const { user, system } = process.cpuUsage(cpu);
  return { wall_ms: performance.now() - wall, cpu_ms: (user + system) / 1000 };
}
