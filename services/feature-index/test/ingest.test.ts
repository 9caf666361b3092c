import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { zstdCompressSync } from "node:zlib";
import { ActivationGroup, FeatureView } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { IndexState } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { CorpusState } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/corpus";
import { Code, RpcError } from "@mistral-sae/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { streamOf, toyChunk, toyChunks, toyWindows, type ChunkMessage, type ToyWindow } from "./fixtures/toy-codes.ts";
import { toyDocuments } from "./fixtures/toy-corpus.ts";
import { startToyIndex, type ToyIndex } from "./fixtures/toy-index.ts";
import { noise, TOY, toyIds, toyText } from "./fixtures/toy-inference.ts";
import { clientsOf, finished, type IndexClients } from "./fixtures/with-service.ts";

/** 32 windows a block. */
const CONTEXT = 2_048;
const DOCUMENTS = toyDocuments(150);
const WINDOWS = toyWindows(DOCUMENTS, CONTEXT);
const children = new Set<ChildProcess>();
let toy: ToyIndex;
let made = 0;

beforeAll(async () => {
  toy = await startToyIndex(DOCUMENTS, CONTEXT, { ingestStreams: 8 });
});
afterAll(async () => {
  for (const child of children) child.kill("SIGKILL");
  await toy.close();
});

async function createIndex({ index }: IndexClients = toy.service): Promise<string> {
  const id = `codes-${(made += 1)}`;
  const { index: created } = await index.createIndex({ indexId: id, sae: TOY.sae, corpusId: `text-${made}`, contextSize: CONTEXT });
  return created?.name ?? "";
}

async function send(messages: readonly ChunkMessage[], { index }: IndexClients = toy.service): Promise<Record<number, bigint>> {
  return (await index.ingestActivations(streamOf(messages))).committedSeq;
}

async function finish(name: string, clients: IndexClients = toy.service) {
  return await finished(clients, (await clients.index.finishIndex({ name })).operation);
}

async function query(sql: string, parameters: Record<string, string>, { index }: IndexClients = toy.service): Promise<Record<string, unknown>[]> {
  const pieces: Uint8Array[] = [];
  for await (const { data } of index.query({ sql, parameters })) pieces.push(data);
  const lines = Buffer.concat(pieces).toString().split("\n").filter((line) => line !== "");
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** What the views say of each feature of an index, whatever order its windows came in. */
async function statistics(name: string): Promise<unknown> {
  const sql = "SELECT feature_index, n_firings, max_activation, round(mean_activation, 5) AS mean, n_firings_by_source FROM features WHERE index_name = {name:String} ORDER BY feature_index";
  return await query(sql, { name });
}

const error = async (work: Promise<unknown>): Promise<RpcError> => await work.then(() => Promise.reject(new Error("nothing was refused")), (thrown: unknown) => thrown as RpcError);

describe("codes made elsewhere", () => {
  it("make the same index as the same text encoded here", async () => {
    const name = await createIndex();
    expect((await toy.service.index.listIndexes({})).indexes[0]).toMatchObject({ name, state: IndexState.BUILDING, nTokens: 0n });
    const chunks = toyChunks(name, 0, WINDOWS, 7);
    expect(await send(chunks)).toEqual({ 0: BigInt(chunks.length - 1) });
    const built = await finish(name);
    const { indexes } = await toy.service.index.listIndexes({ withTableChecksums: true });
    const [ingested, encoded] = [name, toy.index].map((wanted) => indexes.find((index) => index.name === wanted));
    const sums = encoded?.tableChecksums ?? {};
    for (const table of ["postings", "sampled_codes", "sequences", "features", "token_counts"]) expect([table, ingested?.tableChecksums[table]]).toEqual([table, sums[table]]);
    expect(built).toMatchObject({ state: IndexState.READY, nTokens: encoded?.nTokens, nActivations: encoded?.nActivations, nFeaturesAlive: encoded?.nFeaturesAlive });
    expect(await statistics(name)).toEqual(await statistics(toy.index));
  });

  it("have documents with text, pages, examples of a source, SQL and storage, and are deleted with their corpus", async () => {
    const name = "indexes/codes-1";
    const corpus = "corpora/text-1";
    expect((await toy.service.index.getCorpus({ name: corpus })).corpus).toMatchObject({ state: CorpusState.READY, nSequences: BigInt(WINDOWS.length), nDocuments: BigInt(new Set(WINDOWS.map(({ docId }) => docId)).size) });
    const feature = { name: `${TOY.sae}/features/3`, corpus, view: FeatureView.FULL };
    const { feature: page } = await toy.service.index.getFeature(feature);
    const { feature: wanted } = await toy.service.index.getFeature({ ...feature, corpus: "corpora/toy" });
    expect(page).toMatchObject({ nFirings: wanted?.nFirings, topTokens: wanted?.topTokens });
    const { activations: examples } = await toy.service.index.listActivations({ parent: feature.name, corpus, group: ActivationGroup.TOP, dataSource: "books" });
    expect(examples.length).toBeGreaterThan(0);
    expect(new Set(examples.map(({ dataSource }) => dataSource))).toEqual(new Set(["books"]));
    const sql = "SELECT doc_id, source, n_tokens, text FROM documents WHERE corpus = {corpus:String} AND doc_id = 7";
    const [document] = await query(sql, { corpus });
    expect(document).toMatchObject({ doc_id: 7, source: DOCUMENTS[7]?.source, text: toyIds(DOCUMENTS[7]?.text ?? "").filter((id) => id !== TOY.eos).map(toyText).join("") });
    expect((await toy.service.index.getStorage({})).owners.map(({ name: owner }) => owner)).toEqual(expect.arrayContaining([name, corpus]));
    await toy.service.index.deleteCorpus({ name: corpus });
    expect((await toy.service.index.listIndexes({})).indexes.map((index) => index.name)).not.toContain(name);
  });

  it("are taken once, in shards beside one another that are repeated, cut and sent out of order", async () => {
    const name = await createIndex();
    const shards = [0, 1, 2].map((shard) => WINDOWS.filter(({ docId }) => docId % 3 === shard));
    const reasons = new Set<string>();
    await Promise.all(
      shards.map(async (windows, shard) => {
        const chunks = toyChunks(name, shard * 10, windows, 5);
        for (let at = 0, attempt = 0; at < chunks.length; attempt++) {
          const from = Math.max(0, at - Math.floor(4 * noise(shard, attempt, 1)));
          const to = Math.min(chunks.length, at + 1 + Math.floor(12 * noise(shard, attempt, 2)));
          const part = chunks.slice(from, to);
          const dice = noise(shard, attempt, 3);
          if (dice < 0.2) {
            reasons.add(await send([...part.slice(1), ...chunks.slice(to + 1, to + 2)]).then(() => "", ({ reason }: RpcError) => reason));
          } else if (dice < 0.5) {
            await error(toy.service.index.ingestActivations(streamOf(part, new Error("the sender broke"))));
          } else {
            reasons.add(await send([...part, ...part]).then((committed) => (committed[shard * 10] === BigInt(to - 1) ? "" : "WRONG_SEQ"), ({ reason }: RpcError) => reason));
          }
          at = Number((await send([{ index: name }]))[shard * 10] ?? -1n) + 1;
        }
      }),
    );
    // The server may not have noticed yet that a stream was cut.
    for (const reason of reasons) expect(["", "SEQ_GAP", "SHARD_BUSY"]).toContain(reason);
    await finish(name);
    expect(await statistics(name)).toEqual(await statistics(toy.index));
  });

  it("mark special tokens by the sender's bits, and by the vocabulary where there are none", async () => {
    const name = await createIndex();
    const window: ToyWindow = { docId: 0, source: "", tokenIds: [TOY.bos, 20, 30, TOY.eos] };
    // Says that only the third token is special.
    const marked = { ...toyChunk(name, 0, 1, [{ ...window, docId: 1 }]), sequences: [{ tokenIds: [...window.tokenIds], isSpecial: Uint8Array.of(0b0100) }] };
    await send([toyChunk(name, 0, 0, [window]), marked]);
    await finish(name);
    const found = await query("SELECT DISTINCT sequence_id, token_index FROM activations WHERE index_name = {name:String} AND is_special ORDER BY ALL", { name });
    expect(found).toEqual([[0, 0], [0, 3], [1, 2]].map(([sequence_id, token_index]) => ({ sequence_id, token_index })));
    expect((await toy.service.index.getCorpus({ name: `corpora/text-${made}` })).corpus).toMatchObject({ nTokens: 8n, nSpecialTokens: 3n });
  });

  it("are refused with the field that is wrong", async () => {
    const name = await createIndex();
    const good = toyChunk(name, 0, 0, WINDOWS.slice(0, 2), "F32");
    const { code, sequences } = good;
    const [first = { tokenIds: [] }, second = { tokenIds: [] }] = sequences;
    const values = new Float32Array(new Uint8Array(code.activations).buffer);
    const changed = (at: number, value: number) => new Uint8Array(values.map((old, i) => (i === at ? value : old)).buffer);
    const indices = new Uint32Array(new Uint8Array(code.featureIndices).buffer);
    const features = (at: number, value: number) => new Uint8Array(indices.map((old, i) => (i === at ? value : old)).buffer);
    const cases: readonly [string, ChunkMessage][] = [
      ["index", { ...good, index: "codes" }],
      ["doc_ids", { ...good, docIds: [0n] }],
      ["doc_ids[1]", { ...good, docIds: [0n, 2n ** 32n] }],
      ["data_sources", { ...good, dataSources: ["a"] }],
      ["sequences[0].token_ids", { ...good, sequences: [{ tokenIds: [] }, second] }],
      ["sequences[1].token_ids", { ...good, sequences: [first, { tokenIds: Array.from({ length: CONTEXT + 1 }, () => 7) }] }],
      ["sequences[0].token_ids[1]", { ...good, sequences: [{ tokenIds: [1, 300] }, second] }],
      ["sequences[0].is_special", { ...good, sequences: [{ ...first, isSpecial: new Uint8Array(99) }, second] }],
      ["code", { index: name, sequences, docIds: good.docIds }],
      ["code.n_tokens", { ...good, code: { ...code, nTokens: 1 } }],
      ["code.d_sae", { ...good, code: { ...code, dSae: 97 } }],
      ["code.activation_dtype", { ...good, code: { ...code, activationDtype: 4 } }],
      ["code.feature_indices", { ...good, code: { ...code, featureIndices: new Uint8Array(8) } }],
      ["code.feature_indices[2]", { ...good, code: { ...code, featureIndices: features(2, 96) } }],
      ["code.feature_indices[1]", { ...good, code: { ...code, featureIndices: features(1, indices[0] ?? 0) } }],
      ["code.activations[3]", { ...good, code: { ...code, activations: changed(3, 0) } }],
      ["code.activations[4]", { ...good, code: { ...code, activations: changed(4, Infinity) } }],
      ["doc_ids", { index: name, docIds: [1n] }],
    ];
    for (const [field, message] of cases) {
      const refused = await error(send([message]));
      expect([field, refused.code, refused.violations[0]?.field]).toEqual([field, Code.InvalidArgument, field]);
    }
    expect(await error(send([good, { ...good, shard: 1 }]))).toMatchObject({ violations: [{ field: "shard" }] });
    expect(await error(send([{ ...good, seq: 2n }]))).toMatchObject({ code: Code.FailedPrecondition, reason: "SEQ_GAP", metadata: { wanted_seq: "0" } });
    expect(await error(send([{ ...good, index: toy.index }]))).toMatchObject({ reason: "INDEX_TAKES_NO_CODES" });
    expect(await error(send([{ ...good, index: "indexes/nowhere" }]))).toMatchObject({ code: Code.NotFound });
    expect(await error(toy.service.index.finishIndex({ name }))).toMatchObject({ reason: "INDEX_EMPTY" });
    expect(await error(toy.service.index.finishIndex({ name: toy.index }))).toMatchObject({ reason: "INDEX_TAKES_NO_CODES" });
    expect(await error(toy.service.index.createIndex({ indexId: name.split("/")[1]!, sae: TOY.sae, corpusId: "other" }))).toMatchObject({ code: Code.AlreadyExists });
    expect(await error(toy.service.index.createIndex({ indexId: "other", sae: TOY.sae, corpusId: "toy" }))).toMatchObject({ code: Code.AlreadyExists });
    expect(await error(toy.service.index.indexCorpus({ sae: TOY.sae, corpus: `corpora/text-${made}` }).then(async ({ operation }) => finished(toy.service, operation)))).toMatchObject({ message: expect.stringContaining("is being made from codes") as string });
    expect(await send([{ index: name }])).toEqual({});
    await toy.service.index.deleteIndex({ name });
    expect(await error(toy.service.index.getCorpus({ name: `corpora/text-${made}` }))).toMatchObject({ code: Code.NotFound });
  });

  it("are refused before any work when too many streams are open, on a shard that another stream brings, and after the end", async () => {
    const name = await createIndex();
    const { promise: held, resolve: letGo } = Promise.withResolvers<void>();
    const slow = async function* (shard: number) {
      yield toyChunk(name, shard, 0, WINDOWS.slice(0, 3));
      await held;
    };
    const streams = [0, 1].map(async (shard) => await toy.service.index.ingestActivations(streamOf(slow(shard))));
    /** What the first refusal says; the streams above may not have begun yet. */
    const refusal = async (message: ChunkMessage): Promise<RpcError> => {
      for (;;) {
        const refused = await send([message]).catch((thrown: RpcError) => thrown);
        if (refused instanceof RpcError) return refused;
        await sleep(5);
      }
    };
    expect(await refusal(toyChunk(name, 0, 0, WINDOWS.slice(0, 3)))).toMatchObject({ code: Code.Unavailable, reason: "SHARD_BUSY" });
    await expect(toy.service.index.finishIndex({ name })).rejects.toMatchObject({ reason: "INGEST_OPEN" });
    await expect(toy.service.index.deleteIndex({ name })).rejects.toMatchObject({ reason: "INDEX_BUSY" });
    for (let shard = 2; shard < 8; shard++) streams.push(toy.service.index.ingestActivations(streamOf(slow(shard))));
    expect(await refusal({ index: name })).toMatchObject({ code: Code.ResourceExhausted, reason: "INGEST_STREAMS", retryDelayMs: 1000 });
    letGo();
    await Promise.all(streams);
    expect(await send([{ index: name }])).toEqual(Object.fromEntries(streams.map((_, shard) => [shard, 0n])));
    const first = (await toy.service.index.finishIndex({ name })).operation;
    expect((await toy.service.index.finishIndex({ name })).operation?.name).toBe(first?.name);
    await finished(toy.service, first);
    await expect(send([toyChunk(name, 0, 1, WINDOWS.slice(3, 4))])).rejects.toMatchObject({ reason: "INDEX_FINISHED" });
  });

  it("are neither lost nor doubled when the service is killed while it takes them", async () => {
    const data = `${toy.folder}/killed`;
    let service = await startProcess(data);
    const name = await createIndex(service);
    const chunks = toyChunks(name, 0, [...WINDOWS, ...WINDOWS.map((window) => ({ ...window, docId: window.docId + DOCUMENTS.length }))], 3);
    const next = async () => Number((await send([{ index: name }], service))[0] ?? -1n) + 1;
    for (let attempt = 0; attempt < 2; attempt++) {
      const from = await next();
      const cut = service.index.ingestActivations(streamOf(chunks.slice(from))).catch((thrown: unknown) => thrown);
      await sleep(60 * noise(attempt, 9));
      const exit = once(service.child, "exit");
      service.child.kill("SIGKILL");
      await exit;
      await cut;
      service = await startProcess(data);
      expect(await next()).toBeGreaterThanOrEqual(from);
    }
    await send(chunks.slice(await next()), service);
    expect(await next()).toBe(chunks.length);
    const built = await finish(name, service);
    service.child.kill("SIGTERM");
    const { indexes } = await toy.service.index.listIndexes({});
    const once_ = indexes.find((index) => index.name === toy.index);
    expect(built).toMatchObject({ nTokens: 2n * (once_?.nTokens ?? 0n), nActivations: 2n * (once_?.nActivations ?? 0n), nFeaturesAlive: once_?.nFeaturesAlive });
    await once(service.child, "exit");
  });
});

describe("a corpus of records", () => {
  it("keeps the source and the fields that it is asked for, in jsonl.zst as The Pile has it, and tells them with examples", async () => {
    const file = `${toy.folder}/pile.jsonl.zst`;
    const lines = DOCUMENTS.slice(0, 40).map(({ text }, doc) => JSON.stringify({ text, meta: { pile_set_name: doc % 2 === 0 ? "ArXiv" : "Books3", id: doc } }));
    // Two frames: files that were written in parallel have many.
    writeFileSync(file, Buffer.concat([lines.slice(0, 20), lines.slice(20)].map((part) => zstdCompressSync(`${part.join("\n")}\n`))));
    await toy.service.index.createCorpus({ corpusId: "pile", source: { uri: file, sourceField: "meta.pile_set_name", metadataFields: ["meta.id"] }, contextSize: CONTEXT });
    await finished(toy.service, (await toy.service.index.indexCorpus({ sae: TOY.sae, corpus: "corpora/pile" })).operation);
    const { corpus } = await toy.service.index.getCorpus({ name: "corpora/pile" });
    expect(corpus).toMatchObject({ nDocuments: 40n, source: { sourceField: "meta.pile_set_name", metadataFields: ["meta.id"] } });
    const parent = `${TOY.sae}/features/3`;
    const { activations } = await toy.service.index.listActivations({ parent, corpus: "corpora/pile", group: ActivationGroup.TOP });
    expect(activations.length).toBeGreaterThan(3);
    for (const { docId, documentMetadata, dataSource } of activations) {
      expect([documentMetadata, dataSource]).toEqual([JSON.stringify({ "meta.id": Number(docId) }), docId % 2n === 0n ? "ArXiv" : "Books3"]);
    }
    const { feature } = await toy.service.index.getFeature({ name: parent, corpus: "corpora/pile", view: FeatureView.FULL });
    expect(feature?.examples[0]?.documentMetadata).toBe(JSON.stringify({ "meta.id": Number(feature?.examples[0]?.docId) }));
  });
});

async function startProcess(data: string): Promise<IndexClients & { readonly child: ChildProcess }> {
  const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
  const env = { ...process.env, MISTRAL_SAE_LISTEN: "127.0.0.1:0", MISTRAL_SAE_DATA: data, MISTRAL_SAE_INFERENCE: toy.inference, MISTRAL_SAE_THREADS: "2", MISTRAL_SAE_PARENT_PIPE: "1" };
  const child = spawn(process.execPath, [main], { stdio: ["pipe", "pipe", "inherit"], env });
  children.add(child);
  const ended = once(child, "exit").then(() => Promise.reject(new Error("the service ended before it answered")));
  const [line] = (await Promise.race([once(child.stdout as NonNullable<typeof child.stdout>, "data"), ended])) as [Buffer];
  ended.catch(() => children.delete(child));
  return { child, ...clientsOf((JSON.parse(line.toString()) as { address: string }).address) };
}
