import { appendFileSync, openSync, writeSync, closeSync, fsyncSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { StringValueSchema } from "@bufbuild/protobuf/wkt";
import { defineJob, JobEngine } from "../src/index.ts";

// A process of its own that works at one operation until the test kills it: node killed-worker.ts FOLDER SHARDS.
const [folder = "", shards = "0"] = process.argv.slice(2);

const engine = await JobEngine.open({
  service: "killed",
  path: join(folder, "jobs.sqlite"),
  definitions: [
    defineJob({
      kind: "append",
      input: StringValueSchema,
      output: StringValueSchema,
      shardsInParallel: 3,
      plan: async () => Array.from({ length: Number(shards) }, (_, shard) => shard),
      run: async (shard: number, ctx) => {
        appendFileSync(join(folder, "begun"), `${shard}\n`);
        await sleep(3 + (shard % 5), undefined, { signal: ctx.signal });
        // The effect is idempotent, as every shard's has to be: a file named after the shard.
        const file = openSync(join(folder, `effect-${shard}`), "w");
        writeSync(file, String(shard));
        fsyncSync(file);
        closeSync(file);
        return shard;
      },
      reduce: async (_input, results: readonly number[]) => ({ value: results.join(",") }),
    }),
  ],
});
engine.recover();
const { name } = engine.start("append", create(StringValueSchema, { value: "input" }), { requestId: "only" });
process.stdout.write("working\n");
const ended = await engine.wait(name);
process.stdout.write(`${JSON.stringify({ attempts: ended.attempts, state: ended.state })}\n`);
await engine.close();
