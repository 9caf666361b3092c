import { parseArgs } from "node:util";
import { fromBinary } from "@bufbuild/protobuf";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { HarvestedActivationsSchema, TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { corpusDir, demoModelDir } from "@mistral-sae/demo-model";
import { createClient } from "@mistral-sae/rpc";
import { median } from "../inference/measure.ts";
import { InferenceProcess, ServiceProcess } from "../inference/service-process.ts";

const defaultHooks = ["blocks.2.hook_resid_post", "blocks.1.hook_resid_post", "blocks.2.mlp.hook_post", "blocks.0.hook_resid_post"];

/** Hooks of each pass. */
type Passes = readonly (readonly string[])[];

interface Cell {
  readonly name: string;
  readonly passes: Passes;
  readonly seconds: number[];
  /** Rows of each hook. */
  tokens: number;
}

/**
 * `bench harvest`: activations of one, two and four hooks from one pass of the model, and of two hooks from two
 * passes, from text to shards on disk. The cells take turns; each starts with an empty store.
 */
export async function runHarvestBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      model: { type: "string", default: demoModelDir },
      corpus: { type: "string", default: corpusDir },
      "hook-names": { type: "string", default: defaultHooks.join(",") },
      tokens: { type: "string", default: "200000" },
      rounds: { type: "string", default: "5" },
      threads: { type: "string", default: "2" },
      json: { type: "boolean", default: false },
    },
  });
  const hooks = values["hook-names"].split(",");
  if (hooks.length < 2) throw new Error(`--hook-names: got ${hooks.length}, wanted at least 2`);
  const [first = "", second = ""] = hooks;
  const cells: Cell[] = [
    { name: "1 hook", passes: [[first]] },
    { name: "2 hooks, one pass", passes: [[first, second]] },
    { name: "2 hooks, two passes", passes: [[first], [second]] },
    ...(hooks.length > 2 ? [{ name: `${hooks.length} hooks, one pass`, passes: [hooks] }] : []),
  ].map((cell) => ({ ...cell, seconds: [], tokens: 0 }));
  await using inference = await InferenceProcess.start(values.model, Number(values.threads));
  // The first turn, which warms the engine up, is not counted.
  for (let round = 0; round <= Number(values.rounds); round += 1) {
    for (const cell of cells) {
      const turn = await harvest(inference.address, cell.passes, values.corpus, BigInt(values.tokens), values.threads);
      cell.tokens = turn.tokens;
      if (round > 0) cell.seconds.push(turn.seconds);
    }
  }
  const base = median(cells[0]?.seconds ?? []);
  const figures = cells.map(({ name, passes, seconds, tokens }) => ({ name, passes, tokens, seconds: median(seconds), tokens_per_second: tokens / median(seconds), times_one_hook: median(seconds) / base }));
  if (values.json) console.log(JSON.stringify({ figures }, undefined, 2));
  else for (const { name, tokens, seconds, tokens_per_second, times_one_hook } of figures) console.log(`${name.padEnd(22)} ${tokens.toLocaleString("en-US")} tokens  ${seconds.toFixed(2)} s  ${Math.round(tokens_per_second).toLocaleString("en-US").padStart(9)} tokens/s  ${times_one_hook.toFixed(2)}x`);
}

/** Harvests into an empty store, pass after pass. */
async function harvest(inference: string, passes: Passes, corpus: string, tokens: bigint, threads: string): Promise<{ readonly seconds: number; readonly tokens: number }> {
  await using service = await ServiceProcess.start("training", { MISTRAL_SAE_INFERENCE: inference, MISTRAL_SAE_THREADS: threads });
  const training = createClient(TrainingService, service.address);
  const operations = createClient(OperationService, service.address);
  const began = performance.now();
  let rows = 0;
  for (const hookNames of passes) {
    const { operation } = await training.harvestActivations({ hookNames: [...hookNames], corpus: { uri: corpus }, tokens });
    const done = await operations.waitOperation({ name: operation?.name ?? "", timeout: { seconds: 300n } });
    const { result } = done.operation ?? {};
    if (result?.case !== "response") throw new Error(`the harvest of ${hookNames.join(", ")} ended without a result: ${result?.case === "error" ? result.value.message : "it takes more than 300 s"}`);
    rows = Number(fromBinary(HarvestedActivationsSchema, result.value.value).activationSets[0]?.tokens ?? 0n);
  }
  return { seconds: (performance.now() - began) / 1000, tokens: rows };
}
