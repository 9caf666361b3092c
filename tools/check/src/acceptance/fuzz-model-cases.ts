import { cp, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describeModel, readModelSource } from "@mistral-sae/model";
import { InputError } from "@mistral-sae/tensor";
import type { CaseReport } from "./fuzz-in-children.ts";
import { writeGoodFolders } from "./fuzz-model-folders.ts";
import { mutateBytes, mutateJson, Random } from "./mutations.ts";

const CONTEXT = 32;
const LINE_SIZE = 300;

const [what = "", ...numbers] = process.argv.slice(2);
const [from = 0, to = 0, seed = 1] = numbers.map(Number);
const folder = await mkdtemp(join(tmpdir(), "fuzz-model-"));
try {
  const good = await writeGoodFolders(folder);
  for (const { name } of good) await use(join(folder, name));
  for (let n = from; n < to; n++) {
    const random = new Random(seed * 1_000_003 + n);
    const { name, configs, weights } = random.pick(good);
    const file = random.pick(what === "headers" ? weights : configs);
    const bytes = await readFile(join(folder, name, file));
    const target = join(folder, "case");
    await cp(join(folder, name), target, { recursive: true });
    await writeFile(join(target, file), what === "headers" ? damagedWeights(bytes, random) : damagedJson(bytes, random));
    process.stdout.write(`${JSON.stringify(await report(n, `${name}/${file}`, target))}\n`);
    await rm(target, { recursive: true });
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function report(n: number, input: string, target: string): Promise<CaseReport> {
  const started = performance.now();
  const ended = (outcome: CaseReport["outcome"], error?: unknown): CaseReport => {
    const told = error instanceof Error ? (outcome === "fault" ? (error.stack ?? error.message) : error.message) : JSON.stringify(error);
    return { case: n, input, ms: Math.round(performance.now() - started), outcome, ...(error === undefined ? {} : { error: told.slice(0, LINE_SIZE) }) };
  };
  try {
    await use(target);
    return ended("used");
  } catch (error) {
    const refused = error instanceof InputError && error.field !== undefined && error.file?.startsWith(target) === true;
    return ended(refused ? "refused" : "fault", error);
  }
}

/** Opens the folder; what is accepted must hold together. */
async function use(target: string): Promise<void> {
  const source = await readModelSource(target, CONTEXT);
  const { config, weights, rotary, nCtx } = source;
  if (nCtx > CONTEXT || config.slidingWindows.length !== config.nLayers || rotary.cos.length !== nCtx * rotary.half) throw new Error("the tables do not fit the configuration");
  for (const values of [rotary.cos, rotary.sin]) if (!values.every(Number.isFinite)) throw new Error("a rotary table is not finite");
  for (const name of ["model.embed_tokens.weight", "model.norm.weight", ...(config.tiedEmbeddings ? [] : ["lm_head.weight"])]) {
    const { at } = weights.get(name);
    const { size } = await stat(join(weights.folder, at.file));
    if (at.offset + at.length > size) throw new Error(`${name} lies past the end of its file`);
  }
  await describeModel(source);
}

function damagedJson(bytes: Uint8Array, random: Random): Uint8Array {
  if (random.below(8) === 0) return mutateBytes(bytes, random);
  let value: unknown = JSON.parse(new TextDecoder().decode(bytes));
  for (let n = random.pick([1, 1, 2, 4]); n > 0; n--) value = mutateJson(value, random);
  return new TextEncoder().encode(JSON.stringify(value));
}

/** Damages the header as bytes or as JSON, its length, or the length of the file. */
function damagedWeights(bytes: Uint8Array, random: Random): Uint8Array {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const [prefix, header, data] = [bytes.slice(0, 8), bytes.slice(8, 8 + length), bytes.slice(8 + length)];
  const kind = random.below(8);
  if (kind === 0) return Buffer.concat([mutateBytes(prefix, random), header, data]);
  if (kind === 1) return bytes.slice(0, random.below(bytes.length));
  if (kind === 2) return mutateBytes(bytes, random);
  const changed = kind < 5 ? mutateBytes(header, random) : damagedJson(header, random);
  new DataView(prefix.buffer).setBigUint64(0, BigInt(changed.length), true);
  return Buffer.concat([prefix, changed, data]);
}
