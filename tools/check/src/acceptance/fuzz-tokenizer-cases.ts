import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InputError } from "@mistral-sae/tensor";
import { loadTokenizer } from "@mistral-sae/tokenizer";
import type { CaseReport } from "./fuzz-in-children.ts";
import { mutateBytes, mutateJson, Random } from "./mutations.ts";
import { root } from "./root.ts";

const SEEDS = [
  ["metaspace", "tokenizer.json"],
  ["sentencepiece-v1", "tokenizer.model.v1"],
  ["sentencepiece-v7", "tokenizer.model.v7"],
  ["tekken-v3", "tekken.json"],
  ["tekken-v13", "tekken.json"],
] as const;
const DEMO = join(root, "libs/demo-model/model");
const FIXTURES = join(root, "libs/tokenizer/test/fixtures");
const TEXTS = ["", "Hello, world!  two\n\n spaces", "<s>[INST] a </s>", "naïve 漢字 🐟☃ \u0000\ud800", " ".repeat(300), "ab".repeat(300), "1234567890"];
const LINE_SIZE = 300;

const [from = 0, to = 0, seed = 1] = process.argv.slice(2).map(Number);
const folder = await mkdtemp(join(tmpdir(), "fuzz-tokenizer-"));
process.on("SIGTERM", () => process.exit(1));
try {
  for (let n = from; n < to; n++) process.stdout.write(`${JSON.stringify(await runCase(n))}\n`);
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function runCase(n: number): Promise<CaseReport> {
  const random = new Random(seed * 1_000_003 + n);
  const demo = random.below(SEEDS.length + 1) === 0;
  const [name, file] = demo ? ["", "tokenizer.json"] : random.pick(SEEDS);
  const target = await mkdtemp(join(folder, "case-"));
  const bytes = await readFile(demo ? join(DEMO, file) : join(FIXTURES, name, file));
  await writeFile(join(target, file), damaged(bytes, file.endsWith(".json"), random));
  if (demo) await writeFile(join(target, "tokenizer_config.json"), damaged(await readFile(join(DEMO, "tokenizer_config.json")), true, random));
  const started = performance.now();
  const report = (outcome: CaseReport["outcome"], error?: unknown): CaseReport => ({
    case: n,
    input: demo ? `demo/${file}` : `${name}/${file}`,
    ms: Math.round(performance.now() - started),
    outcome,
    ...(error === undefined ? {} : { error: told(error, outcome === "fault").slice(0, LINE_SIZE) }),
  });
  try {
    await use(target);
    return report("used");
  } catch (error) {
    return report(isRefusal(error) ? "refused" : "fault", error);
  } finally {
    await rm(target, { recursive: true, force: true });
  }
}

function told(error: unknown, withStack: boolean): string {
  if (!(error instanceof Error)) return JSON.stringify(error) ?? "undefined";
  return withStack ? (error.stack ?? error.message) : error.message;
}

function damaged(bytes: Uint8Array, json: boolean, random: Random): Uint8Array {
  if (!json || random.below(4) === 0) return mutateBytes(bytes, random);
  let value: unknown = JSON.parse(new TextDecoder().decode(bytes));
  for (let n = random.pick([1, 1, 1, 3]); n > 0; n--) value = mutateJson(value, random);
  return new TextEncoder().encode(JSON.stringify(value));
}

async function use(target: string): Promise<void> {
  const tokenizer = await loadTokenizer(target);
  for (const text of TEXTS) {
    const { ids } = await orRefused(tokenizer.encode(text));
    for (const id of ids) if (!tokenizer.vocabulary.has(id)) throw new Error(`${JSON.stringify(text)} became the id ${id}, which has no token`);
    const stream = tokenizer.detokenizer();
    const streamed = Array.from(ids, (id) => stream.push(id)).join("") + stream.end();
    if (streamed !== tokenizer.decode(ids)) throw new Error(`${JSON.stringify(text)} is decoded differently at once and one by one`);
    tokenizer.strTokens(ids);
  }
  if (tokenizer.hasChatTemplate) await orRefused(tokenizer.chat([{ role: "user", content: "Hello 🐟" }]));
}

async function orRefused(tokens: Promise<{ readonly ids: Uint32Array }>): Promise<{ readonly ids: Uint32Array }> {
  return await tokens.catch((error: unknown) => {
    if (isRefusal(error)) return { ids: new Uint32Array(0) };
    throw error;
  });
}

/** An InputError that names the field, or the file where that is no JSON object and so has no field. */
function isRefusal(error: unknown): boolean {
  return error instanceof InputError && (error.field !== undefined || (error.file !== undefined && (error.summary.includes("is not JSON") || error.wanted === "an object")));
}
