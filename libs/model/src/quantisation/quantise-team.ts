import { createHash } from "node:crypto";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { fromMessage } from "../worker/error-message.ts";
import type { QuantiseJob } from "./plan.ts";
import type { JobReply, QuantiseThreadData, ThreadRequest } from "./quantise-thread.ts";

/** How the work is done. */
export interface TeamOptions {
  readonly threads: number;
  readonly signal: AbortSignal | undefined;
  /** Called after each piece of work with the source bytes done so far. */
  readonly onBytes: (bytes: number) => void;
}

/** What the jobs came to. */
export interface TeamResult {
  /** SHA-256, hex, over the SHA-256 of each job's source bytes in the order of the jobs, which no number of threads changes. */
  readonly sourceDigest: string;
  /** SHA-256, hex, of the file written. */
  readonly weightsDigest: string;
}

/** Does the jobs on threads, each of which reads the source and writes `target` itself. */
export async function runJobs(jobs: readonly QuantiseJob[], target: string, { threads, signal, onBytes }: TeamOptions): Promise<TeamResult> {
  const digests: Uint8Array[] = [];
  let next = 0;
  const work = async (thread: QuantiseThread): Promise<void> => {
    try {
      while (next < jobs.length) {
        signal?.throwIfAborted();
        const index = next++;
        const job = jobs[index]!;
        digests[index] = await thread.ask(job);
        onBytes(job.from.length);
      }
    } catch (error) {
      // The others stop after the job that they are at.
      next = jobs.length;
      throw error;
    }
  };
  const team = Array.from({ length: Math.max(1, Math.min(threads, jobs.length)) }, (_, i) => new QuantiseThread(target, i));
  try {
    const ends = await Promise.allSettled(team.map(work));
    for (const end of ends) if (end.status === "rejected") throw end.reason;
    const digest = createHash("sha256");
    for (const one of digests) digest.update(one);
    signal?.throwIfAborted();
    return { sourceDigest: digest.digest("hex"), weightsDigest: Buffer.from(await team[0]!.ask({ sha256: target })).toString("hex") };
  } finally {
    await Promise.all(team.map((thread) => thread.close()));
  }
}

/** One thread of the team. */
class QuantiseThread {
  readonly #worker: Worker;
  readonly #exit: Promise<void>;

  constructor(target: string, index: number) {
    this.#worker = new Worker(new URL("./quantise-thread.ts", import.meta.url), { workerData: { target } satisfies QuantiseThreadData, name: `quantise-${index}` });
    // Heard by whoever asks at that moment.
    this.#worker.on("error", () => undefined);
    this.#exit = new Promise((resolve) => this.#worker.once("exit", () => resolve()));
  }

  async ask(request: Exclude<ThreadRequest, undefined>): Promise<Uint8Array> {
    const answered = once(this.#worker, "message") as Promise<[JobReply]>;
    this.#worker.postMessage(request);
    const [reply] = await answered;
    if ("digest" in reply) return reply.digest;
    throw fromMessage(reply.error);
  }

  async close(): Promise<void> {
    this.#worker.postMessage(undefined satisfies ThreadRequest);
    await this.#exit;
  }
}
