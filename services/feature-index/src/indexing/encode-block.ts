import type { ClickHouse } from "@mistral-sae/clickhouse";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { aborted, internal } from "@mistral-sae/rpc";
import type { WireSparseCodeInput } from "@mistral-sae/tensor";
import { BlockLayout } from "../blocks/block-layout.ts";
import type { BlockMisses } from "../blocks/near-miss-columns.ts";
import type { IndexRecord } from "../catalogue/records.ts";
import { type Peers, readySae } from "../peers/peers.ts";
import { T } from "../store/tables.ts";
import { Gate } from "./gate.ts";
import { type BlockCodes, type BlockSummary, ownedCode, storeBlock, type StoreParts } from "./store-block.ts";

/** What encoding blocks works with. */
export interface EncodeParts extends StoreParts {
  readonly clickhouse: ClickHouse;
  readonly peers: Peers;
  readonly chunksInFlight: number;
}

/** How a block is encoded. */
export interface EncodeOptions {
  readonly block: number;
  /** One token in this many keeps its whole code. */
  readonly sampleStride: number;
  /** One chunk in this many tells its near-misses; 0 none. */
  readonly missStride: number;
  readonly signal: AbortSignal;
  /** Told of tokens as they come back encoded. */
  readonly encoded: (tokens: number) => void;
}

interface Window {
  readonly tokens: number[];
  readonly special: number[];
}

// Enough for the encoder to work in full batches, little enough to have several on their way.
const CHUNK_TOKENS = 4_096;
const NEAR_MISSES_A_TOKEN = 8;

/**
 * Encodes one block of a corpus and stores its activations. The same block gives the same insert with the same token,
 * so repeating it after a crash stores nothing twice.
 */
export async function encodeBlock(parts: EncodeParts, index: IndexRecord, options: EncodeOptions): Promise<BlockSummary> {
  const { clickhouse, peers } = parts;
  const { block, signal } = options;
  await requireSameSae(peers, index, signal);
  const layout = new BlockLayout(index.corpus.contextSize, index.nSequences);
  const { start, end } = layout.sequencesOf(block);
  const windows = await readWindows(clickhouse, index.corpus.corpusId, start, end, signal);
  const { codes, nearMisses } = await encode(parts, index, windows, options);
  const place = { indexId: index.indexId, dSae: index.sae.dSae, contextSize: layout.contextSize, block };
  const held = { lengths: Uint32Array.from(windows, ({ tokens }) => tokens.length), special: windows.map(({ special }) => special), codes, nearMisses };
  return await storeBlock(parts, place, held, { sampleStride: options.sampleStride, signal });
}

/** @throws ABORTED SAE_CHANGED when the SAE has other weights now. */
export async function requireSameSae(peers: Peers, { sae }: Pick<IndexRecord, "sae">, signal: AbortSignal): Promise<void> {
  const { digest } = await readySae(peers, sae.name, signal);
  if (digest !== sae.digest) throw aborted("SAE_CHANGED", `${sae.name} was replaced while it was being indexed: got digest ${digest}, wanted ${sae.digest}`);
}

async function readWindows(clickhouse: ClickHouse, corpusId: number, start: number, end: number, signal: AbortSignal): Promise<Window[]> {
  const windows = await clickhouse.rows<Window>(
    `SELECT tokens, special FROM ${T.sequences} WHERE corpus_id = {corpusId:UInt32} AND sequence_id >= {start:UInt32} AND sequence_id < {end:UInt32} ORDER BY sequence_id`,
    { corpusId, start, end },
    { signal },
  );
  if (windows.length !== end - start) throw internal("CORPUS_INCOMPLETE", `corpus ${corpusId} has ${windows.length} windows from ${start} to ${end}, wanted ${end - start}`);
  return windows;
}

/** The codes of a block's chunks in order, and the near-misses of some of them; a few chunks are on their way at a time. */
async function encode({ peers, chunksInFlight }: EncodeParts, { sae }: IndexRecord, windows: readonly Window[], { block, missStride, signal, encoded }: EncodeOptions): Promise<Required<Pick<BlockCodes, "codes" | "nearMisses">>> {
  const chunks = [...chunksOf(windows)];
  const gate = new Gate(chunksInFlight);
  const stop = new AbortController();
  const requests = async function* () {
    for (const [chunkId, chunk] of chunks.entries()) {
      await gate.enter(AbortSignal.any([signal, stop.signal]));
      const sequences = chunk.map(({ tokens }) => ({ tokenIds: tokens }));
      // Other chunks of other blocks, so that they lie evenly over the corpus.
      const nearMisses = missStride > 0 && (block + chunkId) % missStride === 0 ? NEAR_MISSES_A_TOKEN : 0;
      yield { sae: sae.name, chunkId: BigInt(chunkId), input: { case: "sequences", value: { sequences } }, activationDtype: DataType.BF16, nearMisses } as const;
    }
  };
  const codes: WireSparseCodeInput[] = [];
  const missed: BlockMisses[] = [];
  let row = 0;
  try {
    for await (const { chunkId, code, nearMisses, nearMissThresholds } of peers.saes.encode(requests(), { signal })) {
      const chunk = chunks[codes.length];
      if (code === undefined || chunk === undefined || chunkId !== BigInt(codes.length)) {
        throw internal("ENCODE_ORDER", `got the code of chunk ${chunkId}, wanted that of chunk ${codes.length} of ${chunks.length}`);
      }
      const tokens = chunk.reduce((sum, window) => sum + window.tokens.length, 0);
      if (code.nTokens !== tokens) throw internal("ENCODE_ROWS", `chunk ${chunkId}: got ${code.nTokens} rows, wanted ${tokens}`);
      codes.push(ownedCode(code));
      if (nearMisses !== undefined) missed.push({ row, code: ownedCode(nearMisses), thresholds: new Uint8Array(nearMissThresholds) });
      row += tokens;
      gate.leave();
      encoded(tokens);
    }
  } finally {
    stop.abort();
  }
  if (codes.length !== chunks.length) throw internal("ENCODE_ENDED", `the stream ended after ${codes.length} of ${chunks.length} chunks`);
  return { codes, nearMisses: missed };
}

function* chunksOf(windows: readonly Window[]): Iterable<readonly Window[]> {
  let chunk: Window[] = [];
  let tokens = 0;
  for (const window of windows) {
    if (chunk.length > 0 && tokens + window.tokens.length > CHUNK_TOKENS) {
      yield chunk;
      chunk = [];
      tokens = 0;
    }
    chunk.push(window);
    tokens += window.tokens.length;
  }
  if (chunk.length > 0) yield chunk;
}
