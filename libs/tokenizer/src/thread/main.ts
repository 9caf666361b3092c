import { parentPort, workerData } from "node:worker_threads";
import { BpeEncoder } from "../bpe/encoder.ts";
import { readFormat } from "../formats/formats.ts";
import { encodeTexts } from "./encode-texts.ts";
import { failureOf, type Job, type Outcome, type ThreadData } from "./protocol.ts";

const model = workerData as ThreadData;
let encoder = model === undefined ? undefined : new BpeEncoder(model);

parentPort?.on("message", (job: Job) => void answer(job));

async function answer(job: Job): Promise<void> {
  const transferred: ArrayBuffer[] = [];
  const outcome = await run(job, transferred).catch((error: unknown): Outcome => ({ kind: "failed", failure: failureOf(error) }));
  parentPort?.postMessage(outcome, transferred);
}

async function run(job: Job, transferred: ArrayBuffer[]): Promise<Outcome> {
  if (job.kind === "read") {
    const source = await readFormat(job.format, job.file);
    encoder = new BpeEncoder(source.model);
    return { kind: "source", source };
  }
  if (encoder === undefined) throw new Error("the thread has no model");
  const texts = encodeTexts(encoder, job.texts, job.mode);
  for (const { ids, offsets } of texts) transferred.push(ids.buffer, ...(offsets === undefined ? [] : [offsets.buffer]));
  return { kind: "encoded", texts };
}
