import { Worker } from "node:worker_threads";
import type { LoadedSae } from "@mistral-sae/model";
import { InputError } from "@mistral-sae/tensor";

/** An SAE folder as read. */
export interface SaeFolder {
  /** In shared memory, so that the engine takes it without a copy. */
  readonly weights: LoadedSae;
  /** As the file has it; a gated SAE runs as the jumprelu SAE that it equals. */
  readonly architecture: string;
  readonly dtype: string;
  /** The hook that the file names. */
  readonly hookName: string | undefined;
  readonly contextSize: number | undefined;
  readonly datasetPath: string;
  readonly wDecNormMean: number;
  readonly digest: string;
  readonly cfgJson: string;
  readonly warnings: readonly string[];
}

/** What the reading thread answers. */
export type LoadReply =
  | { readonly sae: SaeFolder }
  | { readonly refused: { readonly message: string; readonly file: string | undefined; readonly field: string | undefined } }
  | { readonly failed: string };

/**
 * Reads an SAE folder in any of the formats known, on a thread of its own.
 *
 * @throws InputError naming file and field when the folder holds no SAE that can be used.
 */
export function readSaeFolder(folder: string, signal?: AbortSignal): Promise<SaeFolder> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const worker = new Worker(new URL("load-worker.ts", import.meta.url), { workerData: { folder } });
    const abort = () => {
      reject(signal?.reason as Error);
      void worker.terminate();
    };
    signal?.addEventListener("abort", abort, { once: true });
    worker.once("message", (reply: LoadReply) => {
      if ("sae" in reply) resolve(reply.sae);
      else if ("failed" in reply) reject(new Error(`${folder}: ${reply.failed}`));
      else reject(refusal(reply.refused));
    });
    worker.once("error", reject);
    worker.once("exit", () => {
      signal?.removeEventListener("abort", abort);
      reject(new Error(`${folder}: the reading thread ended without an answer`));
    });
  });
}

/** The same error as on the other side: its message holds all details already. */
function refusal({ message, file, field }: { message: string; file: string | undefined; field: string | undefined }): InputError {
  return new InputError(message, { ...(file === undefined ? {} : { file }), ...(field === undefined ? {} : { field }) });
}
