import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type Operation, OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { blockWorkers, featureIndexDefaults, openFeatureIndex, storeBlock, StoredBlocks } from "@mistral-sae/feature-index";
import { ClickHouse } from "@mistral-sae/clickhouse";
import { type Client, createClient } from "@mistral-sae/rpc";
import { bytesOf, WIRE_DTYPE } from "@mistral-sae/tensor";
import { ServiceProcess } from "../inference/service-process.ts";
import { type LeanChunk, LeanClient } from "./lean-client.ts";
import { PeakMemory } from "./peak-memory.ts";
import { SAE, startSyntheticPeer } from "./peer.ts";
import type { Reading } from "./report.ts";
import { type Rows, rowsFor, type Shape, SyntheticCodes, SyntheticText } from "./synthetic.ts";

/** What is ingested. */
export interface IngestOptions {
  readonly shape: Shape;
  readonly threads: number;
  /** Blocks of 65,536 tokens that go to ClickHouse without gRPC. */
  readonly blocks: number;
  /** Tokens that go through IngestActivations. */
  readonly tokens: number;
  /** Build the index of them too. */
  readonly finish: boolean;
  readonly log: (line: string) => void;
}

const BLOCK_TOKENS = 65_536;
const CHUNK_TOKENS = 4_096;
/** Blocks that differ; they are sent again and again under new numbers. */
const MADE_BLOCKS = 4;
const WARM_BLOCKS = 4;

interface Block {
  readonly tokens: Uint32Array;
  readonly rows: Rows;
}

/** Sparse codes → ClickHouse, in one process and through gRPC, and the memory that the latter takes. */
export async function benchIngest(options: IngestOptions): Promise<Reading[]> {
  const blocks = makeBlocks(options.shape);
  return [...(options.blocks > 0 ? await withoutGrpc(options, blocks) : []), ...(options.tokens > 0 ? await throughGrpc(options, blocks) : [])];
}

/** Blocks sorted and inserted as the service does it, deduplication tokens and fsync on. */
async function withoutGrpc({ shape, threads, blocks: nBlocks, log }: IngestOptions, made: readonly Block[]): Promise<Reading[]> {
  const { dSae, k, contextSize } = shape;
  const data = await mkdtemp(join(tmpdir(), "bench-ingest-"));
  const service = await openFeatureIndex({ ...featureIndexDefaults, data, threads });
  const { url, owner } = service.server;
  const clickhouse = new ClickHouse({ url, login: owner });
  const sorters = blockWorkers(url, owner, threads);
  const parts = { sorters, stored: new StoredBlocks(clickhouse) };
  const lengths = new Uint32Array(BLOCK_TOKENS / contextSize).fill(contextSize);
  const special = Array.from(lengths, () => [0]);
  const { signal } = new AbortController();
  const shared = made.map(({ rows }) => ({
    nTokens: BLOCK_TOKENS,
    k,
    dSae,
    featureIndices: inSharedMemory(bytesOf(rows.indices)),
    activations: inSharedMemory(bytesOf(rows.acts)),
    activationDtype: WIRE_DTYPE.BF16,
  }));
  const store = async (first: number, n: number) => {
    let next = first;
    const work = async () => {
      while (next < first + n) {
        const block = next++;
        const codes = [shared[block % shared.length]!];
        await storeBlock(parts, { indexId: 1, dSae, contextSize, block }, { lengths, special, codes }, { sampleStride: 256, signal });
      }
    };
    await Promise.all(Array.from({ length: threads }, work));
  };
  try {
    await store(0, WARM_BLOCKS);
    const began = performance.now();
    await store(WARM_BLOCKS, nBlocks);
    const rate = (nBlocks * BLOCK_TOKENS * k) / (performance.now() - began) / 1_000;
    log(`in one process: ${rate.toFixed(1)} M activations/s`);
    return [{ name: "codes to ClickHouse, in one process", value: rate, unit: "M activations/s", atLeast: 20 }];
  } finally {
    await sorters.close();
    await clickhouse.close();
    await service.close();
    await rm(data, { recursive: true, force: true });
  }
}

/** Two shards beside one another through IngestActivations of a service in a process of its own. */
async function throughGrpc({ shape, threads, tokens, finish, log }: IngestOptions, made: readonly Block[]): Promise<Reading[]> {
  const data = await mkdtemp(join(tmpdir(), "bench-ingest-"));
  const peer = await startSyntheticPeer(shape);
  try {
    await using service = await ServiceProcess.start("feature-index", { MISTRAL_SAE_DATA: data, MISTRAL_SAE_INFERENCE: peer.address, MISTRAL_SAE_THREADS: String(threads) });
    const index = createClient(FeatureIndexService, service.address);
    await index.createIndex({ indexId: "codes", sae: SAE, corpusId: "codes", contextSize: shape.contextSize });
    await using memory = await PeakMemory.start(service, data);
    await using client = new LeanClient(service.address);
    const chunks = Math.ceil(tokens / CHUNK_TOKENS);
    const shards = 2;
    const cpuBefore = await memory.cpuSeconds();
    const began = performance.now();
    await Promise.all(Array.from({ length: shards }, async (_, shard) => await client.ingest(chunkMessages(shape, made, shard, Math.ceil((chunks - shard) / shards)))));
    const seconds = (performance.now() - began) / 1_000;
    const activations = chunks * CHUNK_TOKENS * shape.k;
    const cpu = await memory.cpuSeconds();
    log(`through gRPC: ${activations.toLocaleString("en-US")} activations in ${seconds.toFixed(1)} s; service ${(cpu.service - cpuBefore.service).toFixed(1)} s and ClickHouse ${(cpu.clickhouse - cpuBefore.clickhouse).toFixed(1)} s of CPU`);
    const readings: Reading[] = [
      { name: "codes to ClickHouse, through IngestActivations", value: activations / seconds / 1e6, unit: "M activations/s", atLeast: 20 },
      ...memory.readings("while codes come in"),
    ];
    if (finish) {
      const finishing = performance.now();
      await finished(createClient(OperationService, service.address), (await index.finishIndex({ name: "indexes/codes" })).operation, log);
      const { indexes } = await index.listIndexes({ withTableChecksums: true });
      const bytes = (tables: readonly string[]) => tables.reduce((sum, table) => sum + Number(indexes[0]?.tableBytes[table] ?? 0n), 0) / activations;
      readings.push(
        { name: "FinishIndex", value: (performance.now() - finishing) / 1_000, unit: "s" },
        ...memory.readings("until the index is built"),
        { name: "postings", value: bytes(["postings"]), unit: "bytes an activation", atMost: 2.9 },
        { name: "statistics and examples", value: bytes(["features", "feature_examples"]), unit: "bytes an activation" },
      );
    }
    return readings;
  } finally {
    await peer.close(100);
    await rm(data, { recursive: true, force: true });
  }
}

/** A shard's chunks, blocks of the same codes under documents of their own. */
async function* chunkMessages({ k, dSae, contextSize }: Shape, made: readonly Block[], shard: number, chunks: number): AsyncGenerator<LeanChunk> {
  const perBlock = BLOCK_TOKENS / CHUNK_TOKENS;
  const windows = CHUNK_TOKENS / contextSize;
  for (let seq = 0; seq < chunks; seq++) {
    const { tokens, rows } = made[(shard + Math.floor(seq / perBlock)) % made.length]!;
    const first = (seq % perBlock) * CHUNK_TOKENS;
    const part = (values: Uint32Array | Uint16Array) => bytesOf(values.subarray(first * k, (first + CHUNK_TOKENS) * k));
    yield await Promise.resolve({
      head: {
        index: "indexes/codes",
        shard,
        seq: BigInt(seq),
        sequences: Array.from({ length: windows }, (_, w) => ({ tokenIds: Array.from(tokens.subarray(first + w * contextSize, first + (w + 1) * contextSize)) })),
        docIds: Array.from({ length: windows }, (_, w) => BigInt(shard * 2 ** 30 + Math.floor((seq * windows + w) / 4))),
      },
      code: { nTokens: CHUNK_TOKENS, k, dSae, activationDtype: DataType.BF16 },
      featureIndices: part(rows.indices),
      activations: part(rows.acts),
    });
  }
}

async function finished(operations: Client<typeof OperationService>, operation: Operation | undefined, log: (line: string) => void): Promise<void> {
  let stage = "";
  let last = operation;
  for await (const { operation: next } of operations.watchOperation({ name: operation?.name ?? "" })) {
    last = next;
    const now = next?.progress?.stage ?? "";
    if (now !== stage) log(`  ${now}`);
    stage = now;
  }
  if (last?.result.case !== "response") throw new Error(`the index was not finished: ${last?.result.case === "error" ? last.result.value.message : last?.state}`);
}

function makeBlocks(shape: Shape): Block[] {
  const { k, contextSize } = shape;
  const text = new SyntheticText(shape);
  const codes = new SyntheticCodes(shape);
  let doc = 0;
  return Array.from({ length: MADE_BLOCKS }, () => {
    const rows = rowsFor(BLOCK_TOKENS, k);
    const tokens = new Uint32Array(BLOCK_TOKENS);
    for (let at = 0; at < BLOCK_TOKENS; ) {
      const ids = text.document(doc++).subarray(0, BLOCK_TOKENS - at);
      tokens.set(ids, at);
      at += ids.length;
    }
    for (let at = 0; at < BLOCK_TOKENS; at += contextSize) {
      // BOS, which is special.
      tokens[at] = 1;
      codes.window(tokens.subarray(at, at + contextSize), rows, at);
    }
    return { tokens, rows };
  });
}

function inSharedMemory(bytes: Uint8Array): Uint8Array {
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
  shared.set(bytes);
  return shared;
}
