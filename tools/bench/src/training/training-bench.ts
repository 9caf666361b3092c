import { loadavg, availableParallelism, cpus } from "node:os";
import { parseArgs } from "node:util";
import { makeBatches } from "./batches.ts";
import type { Shape } from "./contender.ts";
import { type Figures, takeTurns } from "./measure.ts";
import { ourContender } from "./ours.ts";
import { peerNames, startPeers } from "./peers.ts";

/** How many times faster than each peer the trainer has to be, by wall time. */
export const targets: Readonly<Record<string, number>> = { sparsify: 2, original: 3.8, saelens: 5 };

const defaultShapes = ["256,4096,32,1024", "768,16384,32,1024"];
const secondsAShape = 60;

interface ShapeReport {
  readonly shape: Shape;
  readonly loadavg: number;
  readonly contenders: readonly Figures[];
  readonly missing: readonly { readonly peer: string; readonly reason: string }[];
}

/** `bench training`: one optimiser step of the trainer and its peers, taking turns. */
export async function runTrainingBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      shape: { type: "string", multiple: true, default: defaultShapes },
      threads: { type: "string", default: "2" },
      rounds: { type: "string" },
      only: { type: "string", default: ["mistral-sae", ...peerNames].join(",") },
      python: { type: "string" },
      json: { type: "boolean", default: false },
    },
  });
  const threads = wholeNumber("--threads", values.threads);
  const rounds = values.rounds === undefined ? undefined : wholeNumber("--rounds", values.rounds);
  const python = [values.python, process.env["MISTRAL_SAE_BENCH_PYTHON"]].find((path) => path !== undefined && path !== "");
  const peers = values.only.split(",").filter((name) => name !== "mistral-sae");
  const reports: ShapeReport[] = [];
  for (const shape of values.shape.map(parseShape)) {
    const report = await benchShape(shape, threads, rounds, python, peers);
    reports.push(report);
    if (!values.json) console.log(describe(report, threads));
  }
  const machine = { cpu: cpus()[0]?.model ?? "unknown", cores: availableParallelism(), threads };
  if (values.json) console.log(JSON.stringify({ machine, targets, shapes: reports }, undefined, 2));
}

async function benchShape(shape: Shape, threads: number, rounds: number | undefined, python: string | undefined, peers: readonly string[]): Promise<ShapeReport> {
  const batches = makeBatches(shape);
  await using ours = await ourContender(shape, threads, batches);
  if (peers.length === 0 || python === undefined) {
    const reason = "no Python with the peers: give --python or $MISTRAL_SAE_BENCH_PYTHON (tools/bench/README.md says how to make one)";
    const figures = await takeTurns([ours], shape, rounds, secondsAShape / 6);
    return { shape, loadavg: loadavg()[0]!, contenders: figures, missing: peers.map((peer) => ({ peer, reason })) };
  }
  await using others = await startPeers(python, peers, shape, threads, batches);
  const figures = await takeTurns([ours, ...others.contenders], shape, rounds, secondsAShape);
  return { shape, loadavg: loadavg()[0]!, contenders: figures, missing: others.missing };
}

function describe({ shape, loadavg: load, contenders, missing }: ShapeReport, threads: number): string {
  const { dIn, dSae, k, batch } = shape;
  const rows = contenders.map(({ name, version, wall_ms_median, wall_ms_best, cpu_ms_median, tokens_per_second, times_ours }) => {
    const target = targets[name];
    const verdict = target === undefined ? "" : `wanted ${target}x: ${times_ours >= target ? "reached" : "MISSED"}`;
    return [name, version, wall_ms_median.toFixed(1), wall_ms_best.toFixed(1), cpu_ms_median.toFixed(0), Math.round(tokens_per_second).toLocaleString("en-US"), `${times_ours.toFixed(2)}x`, verdict];
  });
  const table = [["trainer", "version", "wall ms", "best", "CPU ms", "tokens/s", "time", ""], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  return [
    `d_in ${dIn}, d_sae ${dSae}, k ${k}, batch ${batch}, ${threads} threads, ${contenders[0]!.steps} steps each, load ${load.toFixed(1)}`,
    ...table.map((row) => row.map((cell, column) => (column < 2 || column === row.length - 1 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join("  ").trimEnd()),
    ...missing.map(({ peer, reason }) => `not measured: ${peer} (${reason})`),
    "",
  ].join("\n");
}

function parseShape(text: string): Shape {
  const [dIn, dSae, k, batch, ...rest] = text.split(",").map((part) => wholeNumber("--shape", part));
  if (dIn === undefined || dSae === undefined || k === undefined || batch === undefined || rest.length > 0) {
    throw new Error(`--shape: got "${text}", wanted d_in,d_sae,k,batch`);
  }
  return { dIn, dSae, k, batch };
}

function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`${option}: got "${text}", wanted a whole number of at least 1`);
  return value;
}
