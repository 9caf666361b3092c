/*
 * Quality against SAELens: the same rows of the bundled model's residual stream, in the same order, the same tokens, k or
 * coefficients; both programs' SAEs measured on rows held back from both. SAELens is given its own learning rate and ours, and the
 * better of the two counts. Penalised architectures are compared at SAELens' L0, ours taken between three coefficients.
 *
 *   MISTRAL_SAE_BENCH_PYTHON=python node tools/check/src/quality/main.ts [--architectures topk,standard] [--seeds 3] [--saelens-lr 3e-4,1e-3] [--work folder]
 *
 * Exits with 1 when SAELens is better anywhere by more than the spread of the seeds.
 */
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { zstdDecompressSync } from "node:zlib";
import { corpusDir, demoModelDir } from "@mistral-sae/demo-model";
import { loadSae, resolveTrainerConfig, writeSae } from "@mistral-sae/sae";
import { InputError, openSafetensors } from "@mistral-sae/tensor";
import { root } from "../acceptance/root.ts";
import { type Contest, contests, type SaelensJob, shared } from "./job.ts";
import { fvuAt, measure, type Quality, spreadOf } from "./measure.ts";
import { trainOurs } from "./train-ours.ts";

const { values } = parseArgs({ options: { architectures: { type: "string" }, seeds: { type: "string", default: "3" }, "saelens-lr": { type: "string" }, work: { type: "string" } } });
/** SAELens' own default, and ours. */
const saelensLrs = values["saelens-lr"]?.split(",").map(Number) ?? [3e-4, resolveTrainerConfig({ dIn: 2, dSae: shared.dSae, k: 1, trainingTokens: shared.tokens }).lr];
const python = process.env["MISTRAL_SAE_BENCH_PYTHON"];
if (python === undefined) throw new InputError("no Python with SAELens is known", { field: "MISTRAL_SAE_BENCH_PYTHON", wanted: "the path of an interpreter" });
const interpreter: string = python;
const asked = values.architectures?.split(",");
const chosen = contests.filter(({ architecture }) => asked?.includes(architecture) ?? true);
const seeds = Array.from({ length: Number(values.seeds) }, (_, seed) => seed);
const work = values.work ?? (await mkdtemp(join(tmpdir(), "mistral-sae-quality-")));
await mkdir(work, { recursive: true });
const rowsFile = join(work, "rows.safetensors");

async function peer(...args: readonly string[]): Promise<void> {
  const child = spawn(interpreter, [join(root, "tools/check/python/quality_saelens.py"), ...args], { stdio: ["ignore", "inherit", "inherit"], env: { ...process.env, TQDM_DISABLE: "1" } });
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`quality_saelens.py ${args[0]} ended with ${code}`);
}

async function makeRows(): Promise<void> {
  if (existsSync(rowsFile)) return;
  const texts = (await readdir(corpusDir)).filter((name) => name.endsWith(".jsonl.zst"));
  const text = join(work, "text.jsonl");
  await writeFile(text, Buffer.concat(await Promise.all(texts.map(async (name) => zstdDecompressSync(await readFile(join(corpusDir, name)))))));
  await peer("rows", "--model", demoModelDir, "--text", text, "--layer", String(shared.layer), "--rows", String(shared.tokens + shared.heldBack), "--out", rowsFile);
}

function jobOf({ architecture, saelens }: Contest, lr: number, seed: number): SaelensJob {
  const { dSae, batch, tokens, deadSteps, lrDecaySteps, normalize } = shared;
  const common = { d_sae: dSae, batch, tokens, dead_steps: deadSteps, lr_decay_steps: lrDecaySteps, normalize };
  return { ...common, architecture, lr, seed, saelens, out: join(work, `saelens-${architecture}-${lr.toExponential(1)}-${seed}`) };
}

const lrsOf = ({ options }: Contest): readonly number[] => (options.lr === undefined ? saelensLrs : [options.lr]);

async function trainSaelens(): Promise<void> {
  const jobs = chosen.flatMap((contest) => seeds.flatMap((seed) => lrsOf(contest).map((lr) => jobOf(contest, lr, seed))));
  const missing = jobs.filter(({ out }) => !existsSync(join(out, "cfg.json")));
  if (missing.length === 0) return;
  const file = join(work, "jobs.json");
  await writeFile(file, JSON.stringify(missing));
  await peer("train", "--rows", rowsFile, "--jobs", file);
}

async function oursOf(rows: Float32Array, d: number, contest: Contest, seed: number, factor: number): Promise<string> {
  const folder = join(work, `ours-${contest.architecture}-${factor}-${seed}`);
  if (!existsSync(join(folder, "cfg.json"))) await writeSae(folder, await trainOurs(rows, d, contest, seed, factor, contest.sparsity));
  return folder;
}

const text = ({ mean, sd }: { readonly mean: number; readonly sd: number }, digits = 4): string => `${mean.toFixed(digits)} ± ${sd.toFixed(digits)}`;

try {
  await makeRows();
  await trainSaelens();
  await using file = await openSafetensors(rowsFile);
  const x = await file.readF32("x");
  const d = file.tensors.get("x")!.shape[1]!;
  const [trained, heldBack] = [x.subarray(0, shared.tokens * d), x.subarray(shared.tokens * d)];
  const quality = async (folder: string): Promise<Quality> => measure((await loadSae(folder)).sae, heldBack);
  let worse = 0;
  for (const contest of chosen) {
    const theirs = [];
    for (const lr of lrsOf(contest)) theirs.push({ lr, points: await Promise.all(seeds.map(async (seed) => await quality(jobOf(contest, lr, seed).out))) });
    const best = theirs.toSorted((one, other) => spreadOf(one.points.map(({ fvu }) => fvu)).mean - spreadOf(other.points.map(({ fvu }) => fvu)).mean)[0]!;
    const ours: Quality[] = [];
    for (const seed of seeds) {
      const points: Quality[] = [];
      for (const factor of contest.sparsity?.factors ?? [1]) points.push(await quality(await oursOf(trained, d, contest, seed, factor)));
      const l0 = best.points[seed]!.l0;
      const matched = contest.sparsity === undefined ? undefined : fvuAt(points, l0);
      if (contest.sparsity !== undefined) console.log(`  ours at ${contest.sparsity.factors.join(", ")} × coefficient: ${points.map(({ fvu, l0: at }) => `FVU ${fvu.toFixed(4)} at L0 ${at.toFixed(1)}`).join("; ")}`);
      ours.push(contest.sparsity === undefined ? points[0]! : { ...points[0]!, fvu: matched ?? Number.NaN, l0 });
    }
    for (const { lr, points } of theirs) console.log(`  SAELens at lr ${lr.toExponential(1)}: FVU ${text(spreadOf(points.map(({ fvu }) => fvu)))}, L0 ${text(spreadOf(points.map(({ l0 }) => l0)), 1)}, dead ${text(spreadOf(points.map(({ dead }) => dead)), 3)}`);
    const [one, other] = [spreadOf(ours.map(({ fvu }) => fvu)), spreadOf(best.points.map(({ fvu }) => fvu))];
    const held = one.mean <= other.mean + Math.max(one.sd, other.sd);
    if (!held) worse++;
    console.log(`${held ? "ok " : "BAD"} ${contest.architecture}: FVU ${text(one)} against SAELens' ${text(other)} (lr ${best.lr.toExponential(1)}); L0 ${text(spreadOf(ours.map(({ l0 }) => l0)), 1)} against ${text(spreadOf(best.points.map(({ l0 }) => l0)), 1)}; dead ${text(spreadOf(ours.map(({ dead }) => dead)), 3)}`);
  }
  process.exitCode = worse > 0 ? 1 : 0;
} finally {
  if (values.work === undefined) await rm(work, { recursive: true, force: true });
}
