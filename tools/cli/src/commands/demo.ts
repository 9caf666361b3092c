import { type Command, Option } from "commander";
import { decimal, integer, run } from "../command.ts";
import { type DemoOptions, demoDefaults } from "../demo/demo-options.ts";
import { runDemo } from "../demo/run-demo.ts";

/** `mistral-sae demo`: the main job on the embedded system. `npm start` runs it. */
export function registerDemoCommand(program: Command): void {
  program
    .command("demo")
    .description("start the system and do the main job: harvest, train, index, explain, steer; then keep running")
    .option("--once", "exit after the report", demoDefaults.once)
    .option("--corpus <path>", "text to read: jsonl, jsonl.zst, txt, md or parquet; file, folder or glob (default: the corpus that ships)")
    .option("--model <folder>", "model folder in the Hugging Face layout (default: the one that ships)")
    .option("--data <folder>", "folder of everything the system keeps", demoDefaults.data)
    .option("--hook-name <hook>", "hook to train on", demoDefaults.hookName)
    .option("--context-size <tokens>", "tokens of a window, BOS included", integer({ min: 2 }), demoDefaults.contextSize)
    .option("--d-sae <n>", "features of the SAE", integer({ min: 2 }), demoDefaults.dSae)
    .option("--k <n>", "features a token", integer({ min: 1 }), demoDefaults.k)
    .option("--training-tokens <n>", "tokens to train on, several passes included", integer({ min: 1 }), demoDefaults.trainingTokens)
    .option("--train-batch-size-tokens <n>", "tokens of a step", integer({ min: 1 }), demoDefaults.trainBatchSizeTokens)
    .option("--lr <rate>", "learning rate", decimal({ min: 0 }), demoDefaults.lr)
    .option("--lr-warm-up-steps <n>", "steps of linear warm-up", integer({ min: 0 }), demoDefaults.lrWarmUpSteps)
    .option("--lr-decay-share <share>", "share of the steps over which the rate falls to zero", decimal({ min: 0, max: 1 }), demoDefaults.lrDecayShare)
    .option("--k-aux <n>", "dead latents in the auxiliary loss", integer({ min: 0 }), demoDefaults.kAux)
    .option("--dead-feature-window-tokens <n>", "a latent is dead after so many tokens", integer({ min: 1 }), demoDefaults.deadFeatureWindowTokens)
    .option("--steering-features <n>", "features to steer in the report", integer({ min: 1 }), demoDefaults.steeringFeatures)
    .option("--seed <n>", "seed of everything drawn", integer({ min: 0 }), demoDefaults.seed)
    .addOption(new Option("--threads <n>", "threads of the whole system (default: every core)").argParser(integer({ min: 1 })))
    .action(
      run(async ({ output, signal }, options: Partial<DemoOptions>) => {
        await runDemo({ ...demoDefaults, ...options }, output, signal);
      }),
    );
}
