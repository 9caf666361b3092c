import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Cell, type Contender } from "./contender.ts";

/** Peers by the names of their scripts; all know topk, SAELens the other architectures too. */
export const peerNames = ["sparsify", "original", "saelens"] as const;

/** Trainers in one process. */
export interface Served extends AsyncDisposable {
  readonly contenders: readonly Contender[];
  /** Those that could not be loaded, and why. */
  readonly missing: readonly { readonly peer: string; readonly reason: string }[];
}

interface Ready {
  readonly ready: readonly { readonly peer: string; readonly version: string }[];
  readonly missing: Served["missing"];
}

const script = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Starts this project's trainer on the batches in a file. */
export async function startOurs(cell: Cell, threads: number, batches: string): Promise<Served> {
  return await serve(process.execPath, script("serve-ours.ts"), "mistral-sae", cell, threads, batches);
}

/** Starts a peer on the same batches. Throws when the Python cannot run or has no torch. */
export async function startPeer(python: string, name: string, cell: Cell, threads: number, batches: string): Promise<Served> {
  return await serve(python, script("../../peers/training/serve.py"), name, cell, threads, batches);
}

async function serve(command: string, path: string, name: string, { architecture, dIn, dSae, k, batch, dead }: Cell, threads: number, batches: string): Promise<Served> {
  const options = { batches, peers: name, architecture, "d-in": dIn, "d-sae": dSae, k, batch, dead, threads };
  const args = [path, ...Object.entries(options).flatMap(([option, value]) => [`--${option}`, String(value)])];
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"] });
  let complaints = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaints = (complaints + text).slice(-2000)));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const close = async (): Promise<void> => {
    child.stdin.end();
    if (child.exitCode === null && child.pid !== undefined) await once(child, "close");
  };
  const failed = once(child, "error").then(([error]) => Promise.reject(error as Error));
  failed.catch(() => undefined);
  const read = async <T>(): Promise<T> => {
    const { done, value } = await Promise.race([lines.next(), failed]);
    if (done === true) throw new Error(`${command} ended:\n${complaints}`);
    return JSON.parse(value) as T;
  };
  try {
    const { ready, missing } = await read<Ready>();
    const contenders = ready.map(({ peer, version }): Contender => ({
      name: peer,
      version,
      async step(index) {
        child.stdin.write(`${JSON.stringify({ peer, batch: index })}\n`);
        const { wall_ms, cpu_ms, peak_rss, loss } = await read<{ wall_ms: number; cpu_ms: number; peak_rss: number; loss: number }>();
        return { wallMs: wall_ms, cpuMs: cpu_ms, peakRss: peak_rss, loss };
      },
    }));
    return { contenders, missing, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}
