import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** Peers in one Python process. */
export interface Rivals extends AsyncDisposable {
  /** Version by peer, of those that are there. */
  readonly versions: Readonly<Record<string, string>>;
  /** Why a peer is not there. */
  readonly missing: Readonly<Record<string, string>>;
  /** A peer's answer to a question about a feature, and the time that it took by its own account, milliseconds. */
  ask(peer: string, query: string, feature: number): Promise<{ readonly ms: number; readonly answer: unknown }>;
}

/** Starts a Python over exported files. Throws when it ends before it is ready, with what it said. */
export async function startRivals(python: string, parquet: string, delphi: string, threads: number): Promise<Rivals> {
  const child = spawn(python, [fileURLToPath(new URL("../../peers/index/serve.py", import.meta.url)), parquet, delphi, String(threads)], { stdio: ["pipe", "pipe", "pipe"] });
  let complaints = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaints = (complaints + text).slice(-2000)));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const failed = once(child, "error").then(([error]) => Promise.reject(error as Error));
  failed.catch(() => undefined);
  const read = async <T>(): Promise<T> => {
    for (;;) {
      const { done, value } = await Promise.race([lines.next(), failed]);
      if (done === true) throw new Error(`${python} ended:\n${complaints}`);
      // Libraries print what they like.
      if (value.startsWith("{")) return JSON.parse(value) as T;
    }
  };
  const { version, missing } = await read<{ readonly version: Record<string, string>; readonly missing: Record<string, string> }>();
  return {
    versions: version,
    missing,
    async ask(peer, query, feature) {
      child.stdin.write(`${JSON.stringify({ peer, query, feature })}\n`);
      const { wall_ms, answer, error } = await read<{ readonly wall_ms: number; readonly answer: unknown; readonly error?: string }>();
      if (error !== undefined) throw new Error(`${peer} (${query} of feature ${feature}): ${error}`);
      return { ms: wall_ms, answer };
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      if (child.exitCode === null && child.signalCode === null) await once(child, "close");
    },
  };
}
