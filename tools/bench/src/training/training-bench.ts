import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeBatches } from "./batches.ts";
import { type Architecture, architectures, type Cell } from "./contender.ts";
import { type Figures, takeTurns } from "./measure.ts";
import { peerNames, type Served, startOurs, startPeer } from "./peers.ts";

const largeShape = "768,16384,32,1024";
const shapes = [largeShape, "256,4096,32,1024", "4096,32768,64,256"];
const secondsACell = 60;

interface CellReport {
  readonly cell: Cell;
  readonly loadavg: number;
  readonly contenders: readonly Figures[];
  readonly missing: readonly { readonly peer: string; readonly reason: string }[];
}

/** How many times faster than a peer the trainer has to be, by wall time. */
export function targetOf({ architecture, dIn, dSae, k, batch }: Cell, peer: string): number | undefined {
  if (architecture !== "topk") return peer === "saelens" ? 3 : undefined;
  const large = [dIn, dSae, k, batch].join() === largeShape;
  return { sparsify: large ? 2.8 : 2.5, original: large ? 6 : 4.5, saelens: large ? 7 : 5.5 }[peer];
}

/** What the trainer's process may take at most: five dense copies of the weights, all pre-activations of a batch, and 400 MB. */
export function memoryLimit({ dIn, dSae, batch }: Cell): number {
  return 5 * dIn * dSae * 2 * 4 + batch * dSae * 4 + 400e6;
}

/** `bench training`: one optimiser step of the trainer and its peers, taking turns. */
export async function runTrainingBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      architectures: { type: "string", default: architectures.join(",") },
      shape: { type: "string", multiple: true },
      dead: { type: "string", default: "0,0.25" },
      threads: { type: "string", default: "2" },
      rounds: { type: "string" },
      seconds: { type: "string", default: String(secondsACell) },
      only: { type: "string", default: ["mistral-sae", ...peerNames].join(",") },
      python: { type: "string" },
      json: { type: "boolean", default: false },
    },
  });
  const threads = wholeNumber("--threads", values.threads);
  const rounds = values.rounds === undefined ? undefined : wholeNumber("--rounds", values.rounds);
  const seconds = wholeNumber("--seconds", values.seconds);
  const python = [values.python, process.env["MISTRAL_SAE_BENCH_PYTHON"]].find((path) => path !== undefined && path !== "");
  const peers = values.only.split(",").filter((name) => name !== "mistral-sae");
  const reports: CellReport[] = [];
  for (const cell of cellsOf(values.architectures.split(","), values.shape, values.dead.split(",").map(parseShare))) {
    const known = cell.architecture === "topk" ? peers : peers.filter((peer) => peer === "saelens");
    const report = await benchCell(cell, threads, rounds, seconds, python, known);
    reports.push(report);
    if (!values.json) console.log(describe(report, threads));
  }
  const machine = { cpu: cpus()[0]?.model ?? "unknown", cores: availableParallelism(), threads };
  if (values.json) console.log(JSON.stringify({ machine, cells: reports }, undefined, 2));
}

/** topk at every shape with every share of dead latents; the other architectures without any, at the first shape. */
function cellsOf(names: readonly string[], given: readonly string[] | undefined, dead: readonly number[]): Cell[] {
  const parsed = (given ?? shapes).map(parseShape);
  return names.flatMap((name) => {
    const architecture = architectures.find((known) => known === name);
    if (architecture === undefined) throw new Error(`--architectures: got "${name}", wanted some of ${architectures.join(", ")}`);
    const cells = (shape: ReturnType<typeof parseShape>, shares: readonly number[]): Cell[] => shares.map((share) => ({ architecture: architecture satisfies Architecture, ...shape, dead: share }));
    return architecture === "topk" ? parsed.flatMap((shape) => cells(shape, dead)) : cells(parsed[0]!, [0]);
  });
}

async function benchCell(cell: Cell, threads: number, rounds: number | undefined, seconds: number, python: string | undefined, peers: readonly string[]): Promise<CellReport> {
  const folder = await mkdtemp(join(tmpdir(), "bench-training-"));
  const served: Served[] = [];
  try {
    const batches = join(folder, "batches.f32");
    await writeFile(batches, makeBatches(cell));
    served.push(await startOurs(cell, threads, batches));
    if (python !== undefined) for (const peer of peers) served.push(await startPeer(python, peer, cell, threads, batches));
    const reason = "no Python with the peers: give --python or $MISTRAL_SAE_BENCH_PYTHON (tools/bench/README.md says how to make one)";
    const missing = python === undefined ? peers.map((peer) => ({ peer, reason })) : served.flatMap((one) => one.missing);
    const contenders = await takeTurns(served.flatMap((one) => one.contenders), cell.batch, rounds, served.length === 1 ? seconds / 6 : seconds);
    return { cell, loadavg: loadavg()[0]!, contenders, missing };
  } finally {
    for (const one of served) await one[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  }
}

function describe({ cell, loadavg: load, contenders, missing }: CellReport, threads: number): string {
  const { architecture, dIn, dSae, k, batch, dead } = cell;
  const megabytes = (bytes: number): string => Math.round(bytes / 1e6).toLocaleString("en-US");
  const rows = contenders.map(({ name, version, wall_ms_median, wall_ms_best, cpu_ms_median, tokens_per_second, peak_rss, times_ours }, i) => {
    const target = targetOf(cell, name);
    const limit = memoryLimit(cell);
    const speed = target === undefined ? "" : `wanted ${target}x: ${times_ours >= target ? "reached" : "MISSED"}`;
    const verdict = i === 0 ? `at most ${megabytes(limit)} MB: ${peak_rss <= limit ? "kept" : "EXCEEDED"}` : speed;
    return [name, version, wall_ms_median.toFixed(1), wall_ms_best.toFixed(1), cpu_ms_median.toFixed(0), Math.round(tokens_per_second).toLocaleString("en-US"), megabytes(peak_rss), `${times_ours.toFixed(2)}x`, verdict];
  });
  const table = [["trainer", "version", "wall ms", "best", "CPU ms", "tokens/s", "peak MB", "time", ""], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  return [
    `${architecture}, d_in ${dIn}, d_sae ${dSae}, k ${k}, batch ${batch}, ${dead * 100}% dead, ${threads} threads, ${contenders[0]!.steps} steps each, load ${load.toFixed(1)}`,
    ...table.map((row) => row.map((cell, column) => (column < 2 || column === row.length - 1 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join("  ").trimEnd()),
    ...missing.map(({ peer, reason }) => `not measured: ${peer} (${reason})`),
    "",
  ].join("\n");
}

function parseShape(text: string): Pick<Cell, "dIn" | "dSae" | "k" | "batch"> {
  const [dIn, dSae, k, batch, ...rest] = text.split(",").map((part) => wholeNumber("--shape", part));
  if (dIn === undefined || dSae === undefined || k === undefined || batch === undefined || rest.length > 0) {
    throw new Error(`--shape: got "${text}", wanted d_in,d_sae,k,batch`);
  }
  return { dIn, dSae, k, batch };
}

function parseShare(text: string): number {
  const value = Number(text);
  if (!(value >= 0 && value < 1)) throw new Error(`--dead: got "${text}", wanted shares from 0 to below 1`);
  return value;
}

function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`${option}: got "${text}", wanted a whole number of at least 1`);
  return value;
}
