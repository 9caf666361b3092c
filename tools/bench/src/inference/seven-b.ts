import { mkdtemp, rm, stat, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { quantiseModel } from "@mistral-sae/model";
import { startServiceContender } from "./capture.ts";
import { startLineProcess } from "./line-process.ts";
import { makeModel } from "./make-model.ts";
import { modelShapes } from "./shapes.ts";
import type { Turn, Work } from "./work.ts";

const ours = fileURLToPath(new URL("./ours.ts", import.meta.url));
const gib = 2 ** 30;
/** The float checkpoint and the quantised one beside it. */
const diskBytes = 20 * gib;
/** Most memory that the model may take, loaded and at work. */
const memoryBytes = 24 * gib;
const layer = 16;

/**
 * `bench mistral-7b`: a checkpoint of random weights in Mistral-7B's exact shape, quantised to int4, loaded, harvested
 * at layer 16, decoded, and captured over gRPC. The files are removed afterwards unless `--folder` says where to keep
 * them; there, what was made before is taken again.
 */
export async function runSevenB(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { folder: { type: "string" }, threads: { type: "string", default: "2" }, json: { type: "boolean", default: false } } });
  const folder = values.folder ?? (await mkdtemp(join(tmpdir(), "bench-7b-")));
  const figures: Record<string, number> = {};
  const note = (name: string, value: number): void => {
    figures[name] = value;
    if (!values.json) console.log(`${name.padEnd(34)} ${value >= 100 ? Math.round(value).toLocaleString("en-US") : value.toPrecision(3)}`);
  };
  try {
    const int4 = join(folder, "int4");
    if (!(await isThere(int4))) await makeFiles(folder, int4, note);
    note("int4 weights GiB", (await stat(join(int4, "model.safetensors"))).size / gib);
    await runEngine(int4, values.threads, note);
    await runService(int4, Number(values.threads), note);
    if (values.json) console.log(JSON.stringify(figures, undefined, 2));
    const peak = Math.max(figures["engine peak RSS GiB"] ?? Infinity, figures["service peak RSS GiB"] ?? Infinity);
    if (peak > memoryBytes / gib) throw new Error(`the peak was ${peak.toFixed(1)} GiB, wanted at most ${memoryBytes / gib} GiB`);
  } finally {
    if (values.folder === undefined) await rm(folder, { recursive: true, force: true });
  }
}

type Note = (name: string, value: number) => void;

async function makeFiles(folder: string, int4: string, note: Note): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize < diskBytes) throw new Error(`${folder}: got ${Math.floor((bavail * bsize) / gib)} GiB free, wanted ${diskBytes / gib} GiB; --folder names another place`);
  const floats = join(folder, "bf16");
  await rm(floats, { recursive: true, force: true });
  try {
    note("making the checkpoint s", await seconds(() => makeModel(floats, modelShapes["mistral-7b"], { dtype: "BF16" })));
    note("quantising to int4 s", await seconds(() => quantiseModel(floats, int4, { precision: "int4" })));
    note("peak RSS of both GiB", (process.resourceUsage().maxRSS * 1024) / gib);
  } finally {
    await rm(floats, { recursive: true, force: true });
  }
}

async function runEngine(folder: string, threads: string, note: Note): Promise<void> {
  const began = performance.now();
  await using engine = await startLineProcess("mistral-sae", process.execPath, [ours, folder, threads]);
  note("engine opened s", (performance.now() - began) / 1000);
  const turn = async (name: string, work: Work, tokens: number): Promise<Turn> => {
    const figures = await engine.run(work);
    note(name, (tokens * 1000) / figures.wallMs);
    return figures;
  };
  const harvest: Work = { work: "harvest", batch: 4, tokens: 128, times: 1, layer };
  await engine.run({ work: "harvest", batch: 1, tokens: 8, times: 1, layer });
  note("first layers loaded s", (performance.now() - began) / 1000);
  await turn(`harvest to layer ${layer} tok/s`, harvest, 4 * 128);
  await engine.run({ work: "decode", batch: 1, past: 8, steps: 1 });
  note("all layers loaded s", (performance.now() - began) / 1000);
  await turn("prefill 128 tok/s", { work: "prefill", batch: 1, tokens: 128, times: 1 }, 128);
  await turn("decode tok/s", { work: "decode", batch: 1, past: 32, steps: 16 }, 16);
  const { peakRss = Number.NaN } = await turn("steered decode tok/s", { work: "decode", batch: 1, past: 32, steps: 16, hooked: "add" }, 16);
  note("engine peak RSS GiB", peakRss / gib);
}

async function runService(folder: string, threads: number, note: Note): Promise<void> {
  await using service = await startServiceContender(folder, threads, modelShapes["mistral-7b"].dVocab);
  const { wallMs, peakRss = Number.NaN } = await service.run({ work: "harvest", batch: 4, tokens: 128, times: 1, layer });
  note("capture over gRPC, first, tok/s", (4 * 128 * 1000) / wallMs);
  note("service peak RSS GiB", peakRss / gib);
}

async function seconds(run: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await run();
  return (performance.now() - began) / 1000;
}

async function isThere(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}
