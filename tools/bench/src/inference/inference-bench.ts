import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Cell, cellShapes, peerNames, timedCells } from "./cells.ts";
import { Contenders, type Setup } from "./contenders.ts";
import { allGauges, type Gauge, type GaugeReport } from "./gauges.ts";
import { type CellReport, takeTurns } from "./measure.ts";
import { BenchModels } from "./models.ts";
import { gaugeHead, gaugeRows, tableHead, tableRows } from "./report.ts";
import { type Contender, precisions } from "./work.ts";

/** `bench inference`: the engine and its peers, taking turns at the same work. */
export async function runInferenceBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      shapes: { type: "string", default: cellShapes.join(",") },
      cells: { type: "string", default: "" },
      precisions: { type: "string", default: precisions.join(",") },
      peers: { type: "string", default: peerNames.join(",") },
      rounds: { type: "string", default: "5" },
      threads: { type: "string", default: "2" },
      models: { type: "string" },
      python: { type: "string" },
      "llama-bench": { type: "string" },
      "transformers-js": { type: "string" },
      json: { type: "boolean", default: false },
    },
  });
  const rounds = wholeNumber("--rounds", values.rounds);
  const threads = wholeNumber("--threads", values.threads);
  const shapes = oneOf("--shapes", values.shapes, cellShapes);
  const wantedPrecisions = oneOf("--precisions", values.precisions, precisions);
  const wanted = (cell: Named): boolean => shapes.includes(cell.shape) && wantedPrecisions.includes(cell.precision) && isNamed(cell.id, values.cells);
  const cells = timedCells().filter(wanted);
  const gauges = allGauges().filter(wanted);
  if (cells.length + gauges.length === 0) throw new Error(`--cells: got "${values.cells}", wanted some of ${[...new Set([...timedCells(), ...allGauges()].map(({ id }) => id.split("/")[1]))].join(", ")}`);
  const folder = values.models ?? (await mkdtemp(join(tmpdir(), "bench-inference-")));
  try {
    const setup: Setup = {
      models: new BenchModels(folder),
      threads,
      python: given(values.python, "MISTRAL_SAE_BENCH_PYTHON"),
      llamaBench: given(values["llama-bench"], "MISTRAL_SAE_BENCH_LLAMA_BENCH"),
      transformersJs: given(values["transformers-js"], "MISTRAL_SAE_BENCH_TRANSFORMERS_JS"),
      peers: new Set(oneOf("--peers", values.peers, [...peerNames, "none"] as const)),
    };
    if (!values.json && cells.length > 0) console.log(tableHead(threads));
    const reports: CellReport[] = [];
    for (const group of groups(cells)) {
      for await (const report of runGroup(group, setup, rounds)) {
        reports.push(report);
        if (!values.json) console.log(tableRows(report));
      }
    }
    const readings: GaugeReport[] = [];
    if (!values.json && gauges.length > 0) console.log(gaugeHead());
    for (const gauge of gauges) {
      const report = await readGauge(gauge, setup);
      readings.push(report);
      if (!values.json) console.log(gaugeRows(report));
    }
    const machine = { cpu: cpus()[0]?.model ?? "unknown", cores: availableParallelism(), threads, loadavg: loadavg()[0] };
    if (values.json) console.log(JSON.stringify({ machine, cells: reports, gauges: readings }, undefined, 2));
  } finally {
    if (values.models === undefined) await rm(folder, { recursive: true, force: true });
  }
}

type Named = Pick<Cell, "id" | "shape" | "precision">;

/** `names` are ids of cells, or their parts between slashes; empty names all. */
function isNamed(id: string, names: string): boolean {
  return names === "" || names.split(",").some((name) => id === name || id.split("/")[1] === name);
}

async function readGauge(gauge: Gauge, { models, threads }: Setup): Promise<GaugeReport> {
  try {
    return { id: gauge.id, readings: await gauge.read(models, threads), missing: [] };
  } catch (error) {
    return { id: gauge.id, readings: [], missing: [error instanceof Error ? error.message : String(error)] };
  }
}

/** Cells of one model and precision, which share their contenders. */
function groups(cells: readonly Cell[]): Cell[][] {
  return [...Map.groupBy(cells, ({ shape, precision }) => `${shape} ${precision}`).values()];
}

async function* runGroup(cells: readonly Cell[], setup: Setup, rounds: number): AsyncGenerator<CellReport> {
  const [{ shape, precision }] = cells as [Cell];
  let contenders: Contenders;
  try {
    contenders = await Contenders.start(setup, shape, precision);
  } catch (error) {
    for (const { id } of cells) yield { id, figures: [], ratios: [], missing: [error instanceof Error ? error.message : String(error)] };
    return;
  }
  await using all = contenders;
  for (const whole of cells) {
    const cell = { ...whole, rivals: whole.rivals.filter(({ peer }) => peer === undefined || setup.peers.has(peer)) };
    const peers = new Map<string, Contender | string>();
    for (const { peer } of cell.rivals) if (peer !== undefined) peers.set(peer, await all.peer(peer));
    const subject = cell.subject === "engine" ? all.engine : await all.service();
    yield await takeTurns(cell, { engine: all.engine, subject, peer: (name) => peers.get(name) ?? "unknown" }, rounds);
  }
}

function given(option: string | undefined, variable: string): string | undefined {
  return [option, process.env[variable]].find((value) => value !== undefined && value !== "");
}

function oneOf<T extends string>(option: string, text: string, known: readonly T[]): T[] {
  return text.split(",").map((part) => {
    const found = known.find((name) => name === part);
    if (found === undefined) throw new Error(`${option}: got "${part}", wanted some of ${known.join(", ")}`);
    return found;
  });
}

function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`${option}: got "${text}", wanted a whole number of at least 1`);
  return value;
}
