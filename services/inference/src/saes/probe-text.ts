import type { Engine } from "@mistral-sae/model";
import type { LoadedModel } from "../models/loaded-model.ts";

/** Tokens that a verdict about an SAE rests on, when the caller gives none. */
export const PROBE_TOKENS = 4096;
const ROW_TOKENS = 128;
/** Any fixed number: two checks of one SAE read the same text. */
const SEED = 20240607n;

/**
 * Text that the model writes itself, as sequences of ids with BOS: what its residual stream looks like in use, without
 * a corpus at hand. Rows differ by their seed; the temperature is 1.
 */
export async function probeSequences(model: LoadedModel, signal?: AbortSignal): Promise<Uint32Array[]> {
  const { engine, tokenizer } = model;
  const bos = tokenizer.bosId ?? engine.info.bosTokenId ?? 0;
  const length = Math.min(ROW_TOKENS, engine.info.nCtx);
  const count = Math.max(1, Math.ceil(PROBE_TOKENS / length));
  const ends = new Set(engine.info.eosTokenIds);
  const sequences: Uint32Array[] = [];
  while (sequences.length < count) {
    const rows = Math.min(count - sequences.length, engine.info.maxBatchRows);
    sequences.push(...(await sampleRows(engine, { bos, rows, length, ends, firstSeed: SEED + BigInt(sequences.length) }, signal)));
  }
  return sequences;
}

interface Rows {
  readonly bos: number;
  readonly rows: number;
  readonly length: number;
  readonly ends: ReadonlySet<number>;
  readonly firstSeed: bigint;
}

async function sampleRows(engine: Engine, { bos, rows, length, ends, firstSeed }: Rows, signal: AbortSignal | undefined): Promise<Uint32Array[]> {
  const options = signal === undefined ? {} : { signal };
  const started = await engine.prefill(
    Array.from({ length: rows }, (_, i) => ({ tokens: Uint32Array.of(bos), sampling: { ...neutral, seed: firstSeed + BigInt(i) } })),
    options,
  );
  try {
    const written = Array.from(started.tokens, (token) => [bos, token]);
    let { tokens } = started;
    for (let at = 2; at < length; at++) {
      // A text that has ended starts again, so that every row is full.
      const feed = started.slots.map((slot, i) => ({ slot, token: ends.has(tokens[i] ?? 0) ? bos : (tokens[i] ?? 0) }));
      ({ tokens } = await engine.decode(feed, options));
      for (const [i, row] of written.entries()) row.push(tokens[i] ?? 0);
    }
    return written.flatMap((row) => splitAtEnds(row, bos, ends));
  } finally {
    await engine.free(started.slots);
  }
}

const neutral = {
  temperature: 1,
  topP: 1,
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  seed: 0n,
  nLogprobs: 0,
};

/** A row as the texts in it, each with its own BOS. */
function splitAtEnds(row: readonly number[], bos: number, ends: ReadonlySet<number>): Uint32Array[] {
  const texts: Uint32Array[] = [];
  let text = [bos];
  for (const token of row.slice(1)) {
    text.push(token);
    if (!ends.has(token)) continue;
    texts.push(Uint32Array.from(text));
    text = [bos];
  }
  if (text.length > 1) texts.push(Uint32Array.from(text));
  return texts;
}
