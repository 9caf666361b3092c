import { createHash } from "node:crypto";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { InputError } from "@mistral-sae/tensor";
import type { QuantiseJob } from "./plan.ts";
import type { JobReply, QuantiseThreadData } from "./quantise-thread.ts";

/** How the work is done. */
export interface TeamOptions {
  readonly threads: number;
  readonly signal: AbortSignal | undefined;
  /** Called after each piece of work with the source bytes done so far. */
  readonly onBytes: (bytes: number) => void;
}

/**
 * Does the jobs on threads, each of which reads the source and writes `target` itself. Returns the SHA-256, hex, over the
 * SHA-256 of each job's source bytes in the order of the jobs, which no number of threads changes.
 */
export async function runJobs(jobs: readonly QuantiseJob[], target: string, { threads, signal, onBytes }: TeamOptions): Promise<string> {
  const digests: Uint8Array[] = [];
  let next = 0;
  let failure: unknown;
  const work = async (thread: number): Promise<void> => {
    const worker = new Worker(new URL("./quantise-thread.ts", import.meta.url), { workerData: { target } satisfies QuantiseThreadData, name: `quantise-${thread}` });
    const exit = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
    try {
      await once(worker, "message");
      while (failure === undefined && next < jobs.length) {
        signal?.throwIfAborted();
        const index = next++;
        const job = jobs[index]!;
        const reply = await ask(worker, job);
        digests[index] = checked(reply);
        onBytes(job.from.length);
      }
    } catch (error) {
      failure ??= error;
    } finally {
      worker.postMessage(undefined);
      await exit;
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, Math.min(threads, jobs.length)) }, (_, thread) => work(thread)));
  if (failure !== undefined) throw failure;
  const digest = createHash("sha256");
  for (const one of digests) digest.update(one);
  return digest.digest("hex");
}

async function ask(worker: Worker, job: QuantiseJob): Promise<JobReply> {
  const answered = once(worker, "message") as Promise<[JobReply]>;
  worker.postMessage(job);
  const [reply] = await answered;
  return reply;
}

function checked(reply: JobReply): Uint8Array {
  if ("digest" in reply) return reply.digest;
  if ("error" in reply) throw new Error(`a thread that quantises failed: ${reply.error}`);
  const { message, file, tensor, got, wanted } = reply.fault;
  throw new InputError(message, { file, field: tensor, got, wanted });
}
