import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { StringValueSchema } from "@bufbuild/protobuf/wkt";
import { defineJob, type Job, type JobContext } from "../src/index.ts";

/** Writes "shard" or "done" lines to a file: n shards of `shardMs` each; the output names their sum. */
export function countingJob(log: string, n: number, shardMs: number, shardsInParallel = 2): Job {
  return defineJob({
    kind: "count",
    input: StringValueSchema,
    output: StringValueSchema,
    shardsInParallel,
    plan: async () => Array.from({ length: n }, (_, shard) => ({ shard })),
    run: async ({ shard }, ctx) => {
      appendFileSync(log, `begin ${shard}\n`);
      await sleep(shardMs, undefined, { signal: ctx.signal });
      appendFileSync(log, `end ${shard}\n`);
      return { shard, square: shard * shard };
    },
    reduce: async (input, results) => ({
      value: `${input.value} ${results.length} ${results.reduce((sum, { square }) => sum + square, 0)}`,
    }),
  });
}

/** A job of one shard that does what the test says. */
export function scriptedJob(run: (ctx: JobContext<{ value: string }>) => Promise<string | number | undefined>, kind = "scripted"): Job {
  return defineJob({
    kind,
    input: StringValueSchema,
    output: StringValueSchema,
    plan: async () => [0],
    run: async (_shard, ctx) => String((await run(ctx)) ?? ""),
    reduce: async (_input, results: readonly string[]) => ({ value: results.join(",") }),
  });
}
