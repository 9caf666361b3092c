import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadSae, SaeCodec } from "@mistral-sae/sae";
import { InputError } from "@mistral-sae/tensor";
import type { CaseReport } from "./fuzz-in-children.ts";
import { mutateBytes, mutateJson, Random } from "./mutations.ts";
import { root } from "./root.ts";
import { archiveOf, membersOf } from "./torch-archive.ts";

/** Folders of every format, and the files in them that are damaged. */
const SEEDS = [
  ["AutoEncoder_ae.pt", "", ["ae.pt", "ae.pt", "ae.pt", "config.json"]],
  ["MatryoshkaBatchTopKSAE_ae.pt", "", ["ae.pt", "ae.pt", "ae.pt", "config.json"]],
  ["GatedAutoEncoder_bfloat16", "", ["ae.pt", "ae.pt"]],
  ["topk_layer_norm_rescale", "", ["cfg.json", "sae_weights.safetensors"]],
  ["jumprelu_skip_transcoder_layer_norm", "", ["cfg.json", "sae_weights.safetensors"]],
  ["matching_pursuit_none", "", ["cfg.json", "sae_weights.safetensors"]],
  ["training_batchtopk_covariance_whitening_rescale", "", ["cfg.json", "activation_whitening.safetensors"]],
  ["training_jumprelu_expected_average_only_in", "", ["cfg.json", "activation_scaler.json"]],
  ["sparsify_groupmax_transcode_skip_float32", "layers.1.mlp", ["cfg.json", "sae.safetensors"]],
] as const;
const FIXTURES = join(root, "libs/sae/test/fixtures/written_by");
/** The files are of some 6 KB: memory that grows by this was not asked for by their bytes. */
const MOST_GROWTH = 256 << 20;
const LINE_SIZE = 300;
const OPCODES = [0x28, 0x29, 0x2e, 0x30, 0x4a, 0x4b, 0x51, 0x52, 0x58, 0x5d, 0x61, 0x62, 0x63, 0x65, 0x68, 0x6a, 0x71, 0x72, 0x73, 0x74, 0x75, 0x7d, 0x81, 0x85, 0x86, 0x87, 0x8a, 0x93, 0x94, 0x95];
/** Calls that a careless reader would make. */
const HOSTILE = ["cposix\nsystem\nX\u0004\u0000\u0000\u0000exit\u0085R.", "cbuiltins\neval\n(X\u0001\u0000\u0000\u00001tR.", "ctorch\nload\n)R.", "c__builtin__\nexec\n)R."];

const [from = 0, to = 0, seed = 1] = process.argv.slice(2).map(Number);
const folder = await mkdtemp(join(tmpdir(), "fuzz-sae-"));
process.on("SIGTERM", () => process.exit(1));
try {
  for (let n = from; n < to; n++) process.stdout.write(`${JSON.stringify(await runCase(n))}\n`);
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function runCase(n: number): Promise<CaseReport> {
  const random = new Random(seed * 1_000_003 + n);
  const [name, inner, files] = random.pick(SEEDS);
  const file = random.pick<string>(files);
  const target = await mkdtemp(join(folder, "case-"));
  await cp(join(FIXTURES, name), target, { recursive: true });
  const path = join(target, inner, file);
  await writeFile(path, damaged(await readFile(path), file, random));
  const before = process.memoryUsage().rss;
  const started = performance.now();
  const report = (outcome: CaseReport["outcome"], error?: unknown): CaseReport => {
    const grown = process.memoryUsage().rss - before;
    const fault = outcome === "fault" || grown > MOST_GROWTH;
    const told = grown > MOST_GROWTH ? `memory grew by ${grown} bytes` : error instanceof Error ? (fault ? (error.stack ?? error.message) : error.message) : String(error);
    return { case: n, input: `${name}/${file}`, ms: Math.round(performance.now() - started), outcome: fault ? "fault" : outcome, ...(error === undefined && !fault ? {} : { error: told.slice(0, LINE_SIZE) }) };
  };
  try {
    const { sae } = await loadSae(join(target, inner));
    if (sae.config.dSae * sae.config.dIn < 1 << 20) new SaeCodec(sae).reconstruct(new Float32Array(2 * sae.config.dIn).fill(0.5));
    return report("used");
  } catch (error) {
    return report(error instanceof InputError && (error.field !== undefined || error.file !== undefined) ? "refused" : "fault", error);
  } finally {
    await rm(target, { recursive: true, force: true });
  }
}

function damaged(bytes: Uint8Array, file: string, random: Random): Uint8Array {
  if (file.endsWith(".json") && random.below(6) !== 0) {
    let value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    for (let times = random.pick([1, 1, 1, 3]); times > 0; times--) value = mutateJson(value, random);
    return new TextEncoder().encode(JSON.stringify(value));
  }
  return file.endsWith(".pt") && random.below(4) !== 0 ? damagedArchive(bytes, random) : mutateBytes(bytes, random);
}

/** An archive whose checksums are right and whose pickle, or another member, is not what it was. */
function damagedArchive(bytes: Uint8Array, random: Random): Uint8Array {
  const members = membersOf(bytes);
  const names = [...members.keys()];
  const pickle = names.find((name) => name.endsWith("data.pkl")) ?? "";
  const name = random.below(5) === 0 ? random.pick(names) : pickle;
  const content = members.get(name) ?? new Uint8Array();
  const choice = random.below(8);
  if (choice === 0) members.delete(name);
  else if (choice === 1) members.set(name, Buffer.from(random.pick(HOSTILE), "latin1"));
  else if (choice === 2) members.set(name, spliced(content, Buffer.from(random.pick(HOSTILE), "latin1"), random));
  else if (choice === 3) members.set(name, spliced(content, Uint8Array.from({ length: 1 + random.below(3000) }, () => random.pick(OPCODES)), random));
  else if (choice === 4) members.set(name, spliced(content, new Uint8Array(random.below(500_000)).fill(random.pick(OPCODES)), random));
  else members.set(name, mutateBytes(content, random));
  return archiveOf(members);
}

function spliced(bytes: Uint8Array, more: Uint8Array, random: Random): Uint8Array {
  const at = random.below(bytes.length + 1);
  return Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)]);
}
