import { fromBinary } from "@bufbuild/protobuf";
import { FeatureView } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { type Backup, BackupSchema, GetStorageResponseSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/storage";
import type { Operation } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { Code } from "@mistral-sae/rpc";
import { existsSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { toyDocuments } from "./fixtures/toy-corpus.ts";
import { resultOf, startToyIndex, type ToyIndex } from "./fixtures/toy-index.ts";
import { TOY } from "./fixtures/toy-inference.ts";
import { finished, startService } from "./fixtures/with-service.ts";

let toy: ToyIndex;

beforeAll(async () => {
  toy = await startToyIndex(toyDocuments(120), 32);
  const summary = { name: `${TOY.sae}/features/3/explanations/a`, description: "words of a kind", explanationType: "summary" };
  await toy.service.index.putExplanations({ entries: [{ feature: `${TOY.sae}/features/3`, summary }] });
});
afterAll(() => toy.close());

async function backedUp(operation: Operation | undefined): Promise<Backup> {
  const result = await resultOf(toy.service, operation);
  if (result.case !== "response") throw new Error(JSON.stringify(result.value));
  return fromBinary(BackupSchema, result.value.value);
}

/** Hashes of every table's rows, and a page as users see it. */
async function content(): Promise<unknown> {
  const { indexes } = await toy.service.index.listIndexes({ withTableChecksums: true });
  const { feature } = await toy.service.index.getFeature({ name: `${TOY.sae}/features/3`, view: FeatureView.FULL });
  const rows: string[] = [];
  for await (const { data } of toy.service.index.query({ sql: "SELECT index_name, count() AS n, sum(activation) AS total FROM activations GROUP BY index_name" })) rows.push(new TextDecoder().decode(data));
  return { checksums: indexes.map(({ name, tableChecksums }) => [name, tableChecksums]), feature, rows };
}

describe("storage", () => {
  it("is told by table, and by corpus and index", async () => {
    const { tables, owners, sizeBytes, budgetBytes, freeBytes } = await toy.service.index.getStorage({});
    const { indexes } = await toy.service.index.listIndexes({ withTableChecksums: true });
    const bytesOf = (name: string) => tables.find(({ table }) => table === name)?.sizeBytes;
    for (const table of ["postings", "features", "feature_examples", "documents", "sequences"]) expect(bytesOf(table), table).toBe(indexes[0]?.tableBytes[table]);
    expect(owners.map(({ name }) => name).sort()).toEqual(["corpora/toy", toy.index]);
    expect(sizeBytes).toBe(tables.reduce((sum, table) => sum + table.sizeBytes, 0n));
    expect(budgetBytes).toBe(0n);
    expect(freeBytes).toBeGreaterThan(0n);
  });

  it("is merged, and rows of nobody are dropped", async () => {
    const result = await resultOf(toy.service, (await toy.service.index.compactStorage({})).operation);
    if (result.case !== "response") throw new Error(JSON.stringify(result.value));
    const { tables } = fromBinary(GetStorageResponseSchema, result.value.value);
    expect(tables.find(({ table }) => table === "postings")?.nParts).toBe(1n);
    expect(tables.some(({ table }) => table.startsWith("staged_"))).toBe(false);
  });
});

describe("a disk budget", () => {
  it("refuses an index before any work once the tables take all of it", async () => {
    const small = await startService(`${toy.folder}/small`, toy.inference, { diskMib: 1e-3 });
    try {
      await small.index.createCorpus({ corpusId: "toy", source: { uri: `${toy.folder}/corpus` }, contextSize: 32 });
      await expect(small.index.indexCorpus({ sae: TOY.sae, corpus: "corpora/toy" })).rejects.toMatchObject({ code: Code.ResourceExhausted, reason: "DISK_BUDGET" });
    } finally {
      await small.stop();
    }
  });
});

describe("a backup", () => {
  let first: Backup;
  let before: unknown;

  beforeAll(async () => {
    before = await content();
    first = await backedUp((await toy.service.index.createBackup({ backupId: "first" })).operation);
  });

  it("is listed with its bytes, and its id is taken", async () => {
    expect(first.sizeBytes).toBeGreaterThan(10_000n);
    expect((await toy.service.index.listBackups({})).backups).toEqual([first]);
    await expect(toy.service.index.createBackup({ backupId: "first" })).rejects.toMatchObject({ code: Code.AlreadyExists });
  });

  it("gives back every row and page after everything was deleted", async () => {
    await toy.service.index.deleteCorpus({ name: "corpora/toy" });
    await expect(toy.service.index.getFeature({ name: `${TOY.sae}/features/3` })).rejects.toMatchObject({ code: Code.NotFound });
    await backedUp((await toy.service.index.restoreBackup({ name: "backups/first" })).operation);
    expect(await content()).toEqual(before);
  });

  it("is not put over what is there, unless that is asked for", async () => {
    await expect(toy.service.index.restoreBackup({ name: "backups/first" })).rejects.toMatchObject({ code: Code.FailedPrecondition });
    await backedUp((await toy.service.index.restoreBackup({ name: "backups/first", replace: true })).operation);
    expect(await content()).toEqual(before);
  });

  it("adds only what is new to its base, which stays as long as that", async () => {
    await toy.service.index.createCorpus({ corpusId: "more", source: { uri: `${toy.folder}/corpus`, maxDocuments: 20n }, contextSize: 32 });
    await finished(toy.service, (await toy.service.index.indexCorpus({ sae: TOY.sae, corpus: "corpora/more" })).operation);
    const after = await content();
    const second = await backedUp((await toy.service.index.createBackup({ backupId: "second", base: "backups/first" })).operation);
    await expect(toy.service.index.deleteBackup({ name: "backups/first" })).rejects.toMatchObject({ code: Code.FailedPrecondition });
    await toy.service.index.deleteCorpus({ name: "corpora/more" });
    await backedUp((await toy.service.index.restoreBackup({ name: "backups/second", replace: true })).operation);
    expect(await content()).toEqual(after);
    await toy.service.index.deleteBackup({ name: "backups/second" });
    await toy.service.index.deleteBackup({ name: "backups/first" });
    expect((await toy.service.index.listBackups({})).backups).toEqual([]);
    for (const { uri } of [first, second]) expect(existsSync(/'(.+)'/.exec(uri)![1]!), uri).toBe(false);
  });
});

describe("an SAE's data", () => {
  it("goes as a whole: indexes and explanations", async () => {
    const { indexes } = await toy.service.index.deleteSaeData({ sae: TOY.sae });
    expect(indexes).toContain(toy.index);
    expect((await toy.service.index.listIndexes({})).indexes).toEqual([]);
    const { tables } = await toy.service.index.getStorage({});
    expect(tables.find(({ table }) => table === "postings")).toBeUndefined();
    await expect(toy.service.index.deleteSaeData({ sae: "models/toy/saes/none" })).rejects.toMatchObject({ code: Code.NotFound });
  });
});
