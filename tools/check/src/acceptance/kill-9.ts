/**
 * Main jobs that are killed at random, against one that is not:
 *
 *     node tools/check/src/acceptance/kill-9.ts [rounds] [documents]
 *
 * In every stage of every round one victim is killed at a random moment: a service, ClickHouse, or the whole tree,
 * after which the same command is started again. A round whose outcome differs keeps its folder and ends the script with 1.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { DemoJob, outcomeOf } from "./demo-job.ts";
import { stages } from "./job-stages.ts";
import { type Kill, killAllIn, killServiceIn, randomMoments } from "./kills.ts";
import { writeSampleCorpus } from "./sample-corpus.ts";

const [rounds = 3, documents = 1000] = process.argv.slice(2).map(Number);
const VICTIMS = ["its service", "inference", "clickhouse", "gateway", "feature-index", "all"] as const;

const folder = await mkdtemp(join(tmpdir(), "kill-9-"));
await writeSampleCorpus(join(folder, "corpus.jsonl"), documents);
const startIn = (data: string) => new DemoJob({ data: join(folder, data), corpus: join(folder, "corpus.jsonl"), dSae: 512, trainingTokens: 409_600 });
const undisturbed = await startIn("undisturbed").report();
const moment = randomMoments(undisturbed.seconds);
console.log("undisturbed", undisturbed.weights_sha256, undisturbed.table_checksums, undisturbed.seconds);

let different = 0;
for (let round = 0; round < rounds; round++) {
  const data = `round-${round}`;
  const kills: Kill[] = [];
  let job = startIn(data);
  for (const stage of stages) {
    const victim = VICTIMS[Math.floor(Math.random() * VICTIMS.length)] ?? "all";
    if (victim === "all") {
      kills.push(...(await killAllIn(stage, job, moment)));
      if (job.killed) job = startIn(data);
    } else kills.push(...(await killServiceIn(stage, job, moment, victim === "its service" ? undefined : victim)));
  }
  const outcome = await job.report().then(outcomeOf, (error: unknown) => ({ error: String(error) }));
  const same = isDeepStrictEqual(outcome, outcomeOf(undisturbed));
  if (!same) different++;
  console.log(same ? "same" : `DIFFERENT, kept in ${join(folder, data)}`, kills.map(({ stage, victim, afterMs }) => `${stage} +${afterMs} ms ${victim}`), same ? "" : outcome);
  if (same) await rm(join(folder, data), { recursive: true });
}
if (different === 0) await rm(folder, { recursive: true });
process.exitCode = different === 0 ? 0 : 1;
