import type { JobContext } from "@mistral-sae/jobs";
import { WorkerPool } from "../../workers/worker-pool.ts";
import type { ImportTask, ImportWorkerData } from "./import-worker.ts";
import { ReadMeter } from "./peer-file.ts";

const REPORT_MS = 500;

/** Runs tasks of an import in threads of their own, tells how far they are, and ends them with the signal. */
export async function inThreads<T>(
  threads: number,
  data: ImportWorkerData,
  { signal }: Pick<JobContext, "signal">,
  work: (run: <R>(task: ImportTask) => Promise<R>, meter: ReadMeter) => Promise<T>,
  report: (meter: ReadMeter) => void,
): Promise<T> {
  const meter = new ReadMeter();
  await using pool = new WorkerPool(new URL("./import-worker.ts", import.meta.url), threads, data);
  const timer = setInterval(() => report(meter), REPORT_MS);
  const stop = () => meter.stop();
  signal.addEventListener("abort", stop, { once: true });
  try {
    signal.throwIfAborted();
    report(meter);
    return await pool.until(signal, work(async (task) => await pool.run(task), meter));
  } finally {
    clearInterval(timer);
    signal.removeEventListener("abort", stop);
  }
}
