import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Contender, Shape } from "./contender.ts";

/** Peers by the names of their scripts. */
export const peerNames = ["sparsify", "original", "saelens"] as const;

/** Peers in one Python process. */
export interface Peers extends AsyncDisposable {
  readonly contenders: readonly Contender[];
  /** Peers that could not be loaded, and why. */
  readonly missing: readonly { readonly peer: string; readonly reason: string }[];
}

interface Ready {
  readonly ready: readonly { readonly peer: string; readonly version: string }[];
  readonly missing: Peers["missing"];
}

const script = fileURLToPath(new URL("../../peers/training/serve.py", import.meta.url));

/** Starts the peers on the same batches. Throws when the Python cannot run or has no torch. */
export async function startPeers(python: string, names: readonly string[], { dIn, dSae, k, batch }: Shape, threads: number, batches: Float32Array<ArrayBuffer>): Promise<Peers> {
  const folder = await mkdtemp(join(tmpdir(), "bench-training-"));
  const file = join(folder, "batches.f32");
  await writeFile(file, batches);
  const sizes = { "d-in": dIn, "d-sae": dSae, k, batch, threads };
  const args = [script, "--batches", file, "--peers", names.join(","), ...Object.entries(sizes).flatMap(([name, value]) => [`--${name}`, String(value)])];
  const child = spawn(python, args, { stdio: ["pipe", "pipe", "pipe"] });
  let complaints = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaints = (complaints + text).slice(-2000)));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const close = async (): Promise<void> => {
    child.stdin.end();
    if (child.exitCode === null && child.pid !== undefined) await once(child, "close");
    await rm(folder, { recursive: true, force: true });
  };
  const failed = once(child, "error").then(([error]) => Promise.reject(error as Error));
  failed.catch(() => undefined);
  const read = async <T>(): Promise<T> => {
    const { done, value } = await Promise.race([lines.next(), failed]);
    if (done === true) throw new Error(`${python} ended:\n${complaints}`);
    return JSON.parse(value) as T;
  };
  try {
    const { ready, missing } = await read<Ready>();
    const contenders = ready.map(({ peer, version }): Contender => ({
      name: peer,
      version,
      async step(index) {
        child.stdin.write(`${JSON.stringify({ peer, batch: index })}\n`);
        const { wall_ms, cpu_ms, loss } = await read<{ wall_ms: number; cpu_ms: number; loss: number }>();
        return { wallMs: wall_ms, cpuMs: cpu_ms, loss };
      },
    }));
    return { contenders, missing, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}
