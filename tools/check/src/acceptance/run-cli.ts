import { spawn } from "node:child_process";
import { join } from "node:path";
import { root } from "./root.ts";

/** The command as users start it. */
export const COMMAND: string = join(root, "tools", "cli", "bin", "mistral-sae.mjs");

/** A failure as `--json` tells it. */
export interface ToldError {
  readonly message: string;
  readonly exitCode: number;
  readonly file?: string;
  readonly field?: string;
  readonly got?: unknown;
  readonly wanted?: string;
  readonly reason?: string;
}

/** How a run of the command ended. */
export interface CliRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** The error told on stderr; undefined where there is none. */
  readonly error: ToldError | undefined;
}

/** Runs the real command with --json to its end. */
export async function runCli(...args: readonly string[]): Promise<CliRun> {
  const child = spawn(process.execPath, [COMMAND, "--json", "-q", ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const code = await new Promise<number | null>((resolve, reject) => child.once("error", reject).once("close", resolve));
  return { code, stdout, stderr, error: toldError(stderr) };
}

function toldError(stderr: string): ToldError | undefined {
  const line = stderr.split("\n").find((text) => text.startsWith('{"error"'));
  return line === undefined ? undefined : (JSON.parse(line) as { readonly error: ToldError }).error;
}
