/**
 * Writes the corpus that ships: texts sampled from the demo model, with fixed seeds, exact and near copies removed.
 *
 *   node tools/demo-model/sample-corpus.ts [tokens]      (default 1,200,000)
 */
import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { constants, zstdCompressSync } from "node:zlib";
import { corpusDir, demoModelDir } from "@mistral-sae/demo-model";
import { greedy, openEngine, type SamplingParams, type SlotId } from "@mistral-sae/model";
import { atomicWriteFile } from "@mistral-sae/tensor";
import { loadTokenizer } from "@mistral-sae/tokenizer";

const wantedTokens = Number(process.argv[2] ?? 1_200_000);
const ROWS = 64;
/** Prompt and text together: the model was trained on windows of 128. */
const LONGEST = 127;
const SHORTEST = 40;
/** Texts that begin with the same characters are near copies. */
const NEAR_COPY_CHARACTERS = 48;

const who = ["Lily", "Tom", "Ben", "Mia", "Sam", "Anna", "Max", "Sue", "Tim", "Sara", "Jack", "Lucy", "Bob", "Amy", "Leo", "Mary"];
const kinds = ["little girl", "little boy", "big dog", "small cat", "little bird", "old man", "king", "queen", "bear", "rabbit", "fish", "frog", "mouse", "princess", "farmer", "lion", "duck", "horse", "fox", "monkey"]; // prettier-ignore
const places = ["the sea", "the park", "the forest", "the garden", "the school", "the farm", "the river", "the castle", "the shop", "the beach", "the lake", "the mountain", "the city", "the kitchen", "the zoo", "the hill"]; // prettier-ignore
const things = ["ball", "boat", "book", "cake", "car", "hat", "kite", "box", "doll", "train", "apple", "flower", "bike", "star", "tree", "key", "drum", "egg", "shell", "coat", "cookie", "ship", "rock", "lamp"]; // prettier-ignore

/** Openings by number; every eighth text begins from nothing. */
function openingOf(n: number): string {
  const pick = (list: readonly string[], salt: number): string => list[hash(n * 31 + salt) % list.length] ?? "";
  const [name, kind, place, thing] = [pick(who, 1), pick(kinds, 2), pick(places, 3), pick(things, 4)];
  const openings = [
    "",
    `Once upon a time, there was a ${kind} named ${name}. ${name}`,
    `One day, a ${kind} went to ${place}.`,
    `${name} had a ${thing}. One day,`,
    `"Look at the ${thing}!" said ${name}.`,
    `The ${kind} lived near ${place}. Every day,`,
    `${name} and ${pick(who, 5)} were in ${place}. They found a ${thing}`,
    `There was once a ${kind} who wanted a ${thing},`,
  ];
  return openings[n % openings.length] ?? "";
}

function hash(n: number): number {
  return createHash("sha256").update(String(n)).digest().readUInt32LE(0);
}

function samplingOf(n: number): SamplingParams {
  return { ...greedy, temperature: 0.7 + 0.3 * ((hash(n * 7 + 5) % 1000) / 1000), topP: 0.98, seed: BigInt(n) };
}

interface Row {
  readonly n: number;
  readonly slot: SlotId;
  readonly tokens: number[];
  next: number;
}

const tokenizer = await loadTokenizer(demoModelDir);
const engine = await openEngine({ modelDir: demoModelDir, maxBatchRows: ROWS });
const ends = new Set(engine.info.eosTokenIds);
const seen = new Set<string>();
const documents: { n: number; text: string; source: string }[] = [];
let tokens = 0;
let dropped = 0;
let started = 0;
let rows: Row[] = [];

function keep(row: Row, complete: boolean): void {
  const text = tokenizer.decode(Uint32Array.from(row.tokens.slice(1)), { skipSpecialTokens: true }).trim();
  const near = text.slice(0, NEAR_COPY_CHARACTERS + openingOf(row.n).length);
  if (row.tokens.length < SHORTEST || seen.has(near) || text.includes("\uFFFD")) {
    dropped += 1;
    return;
  }
  seen.add(near);
  tokens += row.tokens.length;
  // A text cut at the window's end stops at its last whole sentence, where it has one.
  const end = complete ? -1 : Math.max(...[".", "!", "?", '"'].map((mark) => text.lastIndexOf(mark)));
  documents.push({ n: row.n, text: end > text.length / 2 ? text.slice(0, end + 1) : text, source: openingOf(row.n) === "" ? "free" : "opening" });
}

while (tokens < wantedTokens) {
  while (rows.length < ROWS) {
    const n = started++;
    const opening = openingOf(n);
    const prompt = opening === "" ? Uint32Array.of(engine.info.bosTokenId ?? 1) : (await tokenizer.encode(opening)).ids;
    const { slots, tokens: chosen } = await engine.prefill([{ tokens: prompt, sampling: samplingOf(n) }]);
    rows.push({ n, slot: slots[0] ?? 0, tokens: [...prompt], next: chosen[0] ?? 0 });
  }
  const ended = rows.filter(({ next, tokens: own }) => ends.has(next) || own.length >= LONGEST);
  for (const row of ended) keep(row, ends.has(row.next));
  if (ended.length > 0) {
    await engine.free(ended.map(({ slot }) => slot));
    rows = rows.filter((row) => !ended.includes(row));
    if (documents.length % 500 < ended.length) console.log(`${documents.length} texts, ${tokens} tokens, ${dropped} dropped`);
    continue;
  }
  for (const row of rows) row.tokens.push(row.next);
  const step = await engine.decode(rows.map(({ slot }) => ({ slot })));
  for (const [i, row] of rows.entries()) row.next = step.tokens[i] ?? 0;
}
await engine.close();

// Batches end in an order of their own; the file is in the order of the seeds.
const lines = documents.toSorted((a, b) => a.n - b.n).map(({ text, source }) => `${JSON.stringify({ text, source })}\n`);
const packed = zstdCompressSync(lines.join(""), { params: { [constants.ZSTD_c_compressionLevel]: 19 } });
await mkdir(corpusDir, { recursive: true });
await atomicWriteFile(join(corpusDir, "stories.jsonl.zst"), packed);
console.log(`${documents.length} texts, ${tokens} tokens, ${packed.length} bytes, ${dropped} dropped as short or near copies`);
