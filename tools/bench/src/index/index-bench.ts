import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BuiltIndex } from "./built-index.ts";

/** `bench index`: the feature index over synthetic codes. */
export async function runIndexBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      activations: { type: "string", default: "67M" },
      folder: { type: "string" },
      threads: { type: "string", default: String(availableParallelism()) },
    },
  });
  const folder = values.folder ?? process.env["MISTRAL_SAE_BENCH_INDEX"] ?? join(tmpdir(), "mistral-sae-bench-index");
  const shape = { dSae: 131_072, k: 128, dVocab: 32_000, dIn: 16, contextSize: 128 };
  await using built = await BuiltIndex.open({ folder, activations: count(values.activations), shape, threads: Number(values.threads), log: (line) => console.log(line) });
  console.log(built.tableBytes);
}

/** 67M is 67 million. */
function count(text: string): number {
  const value = Number(text.replace(/M$/, "e6"));
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--activations: got "${text}", wanted a number such as 67M`);
  return value;
}
