import { fileURLToPath } from "node:url";
import { ExplanationVectorsSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { fromBinary } from "@bufbuild/protobuf";
import { Code } from "@mistral-sae/rpc";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startToyIndex, resultOf, type ToyIndex } from "./fixtures/toy-index.ts";
import { TOY } from "./fixtures/toy-inference.ts";
import { startService, type TestService } from "./fixtures/with-service.ts";

const WORDS = Array.from({ length: 40 }, (_, i) => `w${i + 5}`);
const FOLDER = fileURLToPath(new URL("fixtures/sentence-model", import.meta.url));
let toy: ToyIndex;
let service: TestService;

beforeAll(async () => {
  const documents = Array.from({ length: 30 }, (_, d) => ({ source: "made", text: Array.from({ length: 40 }, (_unused, i) => WORDS[(d * 7 + i * (d + 3)) % WORDS.length] as string).join(" ") }));
  toy = await startToyIndex(documents, 32);
  service = toy.service;
});
afterAll(async () => await toy.close());

const feature = (n: number) => `${TOY.sae}/features/${n}`;
const nameOf = (n: number) => `${feature(n)}/explanations/x`;
const put = async (n: number, description: string) => await service.index.putExplanations({ entries: [{ feature: feature(n), summary: { name: nameOf(n), description } }] });

async function embed(): Promise<{ source: string; nVectors: bigint }> {
  const { operation } = await service.index.embedExplanations({ sae: TOY.sae });
  const result = await resultOf(service, operation);
  if (result.case !== "response") throw new Error(JSON.stringify(result.value));
  return fromBinary(ExplanationVectorsSchema, result.value.value);
}

async function search(query: string, more: { readonly pageSize?: number; readonly pageToken?: string; readonly textWeight?: number } = {}) {
  return await service.index.searchExplanations({ parent: TOY.sae, query, ...more });
}

const found = ({ hits }: Awaited<ReturnType<typeof search>>) => hits.map((hit) => hit.feature?.featureIndex);

/** Another source over the same data. */
async function restart(options: Parameters<typeof startService>[2]): Promise<void> {
  await service.stop();
  service = await startService(service.data, toy.inference, options);
  Object.assign(toy, { service });
}

it("finds features by their own vectors, without outside help, page by page", async () => {
  await put(40, "about w50 and the sea");
  await embed();
  const all = await search("w50", { pageSize: 1000 });
  expect(all).toMatchObject({ vectorSource: expect.stringMatching(/^own-1\//) as string, nPending: 0n, nextPageToken: "" });
  const values = all.hits.map(({ value }) => value);
  expect(values).toEqual([...values].sort((a, b) => b - a));
  expect(values.every((value) => value > 0 && value <= 1 + 1e-9)).toBe(true);
  const paged: (number | undefined)[] = [];
  for (let pageToken = ""; ; ) {
    const page = await search("w50", { pageSize: 7, pageToken });
    paged.push(...found(page));
    pageToken = page.nextPageToken;
    if (pageToken === "") break;
  }
  expect(paged).toEqual(found(all));
  // Words alone find fewer: those that have the word somewhere.
  const words = await search("w50", { textWeight: 1, pageSize: 1000 });
  expect(words).toMatchObject({ vectorSource: "", nPending: 0n });
  expect(words.hits.length).toBeLessThan(all.hits.length);
  expect(found(words)).toContain(40);
});

it("takes a changed text and a deleted explanation out of words and vectors", async () => {
  await put(41, "zeppelin w51");
  await embed();
  expect(found(await search("zeppelin"))[0]).toBe(41);
  await put(41, "locomotive w52");
  expect(found(await search("zeppelin", { textWeight: 1 }))).not.toContain(41);
  expect(found(await search("locomotive", { textWeight: 1 }))).toEqual([41]);
  const { nVectors } = await embed();
  const before = (await service.index.getStorage({})).tables.map(({ table }) => table);
  expect(before).toContain("explanation_vectors");
  const entry = { feature: feature(41), name: nameOf(41) };
  expect(await service.index.deleteExplanations({ entries: [entry, entry, { feature: feature(42), name: "none" }] })).toMatchObject({ nDeleted: 1 });
  expect(found(await search("locomotive", { textWeight: 1 }))).toEqual([]);
  expect((await embed()).nVectors).toBe(nVectors - 1n);
  await expect(service.index.deleteExplanations({ entries: [{ feature: feature(1), name: "" }] })).rejects.toMatchObject({ code: Code.InvalidArgument });
});

it("embeds everything anew with another source, and forgets the vectors of the one before", async () => {
  await put(43, "swimming in the deep sea");
  await put(44, "Kings and Queens, of England!");
  await restart({ embeddings: { kind: "folder", folder: FOLDER } });
  const { source, nVectors } = await embed();
  expect(source).toMatch(/^folder\/sentence-model\//);
  const byMeaning = await search("kings and queens of england", { textWeight: 0 });
  expect(byMeaning).toMatchObject({ vectorSource: source, nPending: 0n });
  expect(found(byMeaning)[0]).toBe(44);
  // Only explanations have such vectors.
  expect(BigInt(byMeaning.hits.length)).toBe(nVectors);
  await restart({ embeddings: { kind: "own" } });
  expect((await embed()).source).toBe("own-1");
  expect((await search("kings")).vectorSource).toMatch(/^own-1\//);
});

it("refuses weights that are none and an SAE it does not know, and tells of an endpoint that is away", async () => {
  await expect(search("w50", { textWeight: 1.5 })).rejects.toMatchObject({ code: Code.InvalidArgument });
  await expect(service.index.embedExplanations({ sae: "models/toy/saes/none" })).rejects.toMatchObject({ code: Code.NotFound });
  await restart({ embeddings: { kind: "endpoint", baseUrl: "http://127.0.0.1:1/v1", model: "m", apiKey: "", dimensions: 0, batchSize: 8, timeoutMs: 1_000, maxAttempts: 1 } });
  await expect(search("w50")).rejects.toMatchObject({ code: Code.Unavailable, reason: "EMBEDDINGS_UNAVAILABLE" });
  expect((await search("w50", { textWeight: 1 })).hits.length).toBeGreaterThan(0);
});

it("forgets everything of an SAE that is deleted", async () => {
  await restart({});
  await service.index.deleteSaeData({ sae: TOY.sae });
  const { tables } = await service.index.getStorage({});
  for (const table of ["explanation_vectors", "token_vectors", "feature_vectors"]) expect(tables.find((row) => row.table === table)?.nRows ?? 0n, table).toBe(0n);
});
