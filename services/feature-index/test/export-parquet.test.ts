import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { ExportedFiles } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { Code } from "@mistral-sae/rpc";
import { asyncBufferFromFile, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { referenceFirings, referenceTokens } from "./fixtures/reference.ts";
import { toyDocuments } from "./fixtures/toy-corpus.ts";
import { exportedFiles, resultOf, startToyIndex, type ToyIndex } from "./fixtures/toy-index.ts";
import { TOY } from "./fixtures/toy-inference.ts";

const CONTEXT = 32;
const documents = toyDocuments(120);
let toy: ToyIndex;

beforeAll(async () => {
  toy = await startToyIndex(documents, CONTEXT);
});
afterAll(() => toy.close());

async function exported(uri: string): Promise<ExportedFiles> {
  return await exportedFiles(toy.service, (await toy.service.index.exportParquet({ index: toy.index, uri })).operation);
}

async function rowsOf(path: string): Promise<Record<string, unknown>[]> {
  return await parquetReadObjects({ file: await asyncBufferFromFile(path), compressors });
}

describe("a Parquet export", () => {
  let files: ExportedFiles;
  beforeAll(async () => {
    files = await exported(join(toy.folder, "parquet"));
  });

  it("writes one file for each documented view and tells their bytes", async () => {
    expect(files.fileNames).toEqual(["indexes.parquet", "features.parquet", "activations-00000.parquet", "documents.parquet", "sequences.parquet", "tokens.parquet", "explanations.parquet"]);
    const sizes = await Promise.all(files.fileNames.map(async (name) => (await stat(join(files.uri, name))).size));
    expect(files.sizeBytes).toBe(BigInt(sizes.reduce((sum, size) => sum + size, 0)));
  });

  it("holds every activation, those on special tokens marked, sorted by feature and place", async () => {
    const rows = await rowsOf(join(files.uri, "activations-00000.parquet"));
    const wanted = [...referenceFirings(referenceTokens(documents, CONTEXT))].flatMap(([feature, firings]) => firings.map(({ sequence, token, special, value }) => [feature, sequence, token, special, value] as const));
    wanted.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
    expect(rows.map((row) => [row["feature_index"], row["sequence_id"], row["token_index"], row["is_special"], row["activation"]])).toEqual(wanted);
  });

  it("holds the features as SQL users see them", async () => {
    const rows = await rowsOf(join(files.uri, "features.parquet"));
    expect(rows).toHaveLength(TOY.dSae);
    const { features } = await toy.service.index.listFeatures({ parent: TOY.sae, pageSize: 1000 });
    for (const { featureIndex, nFirings, maxActivation, fracNonzero } of features) {
      expect(rows[featureIndex]).toMatchObject({ feature_index: featureIndex, n_firings: nFirings, max_activation: maxActivation, frac_nonzero: fracNonzero, dead: nFirings === 0n });
    }
  });

  it("holds every document with its text", async () => {
    const rows = await rowsOf(join(files.uri, "documents.parquet"));
    expect(rows.map((row) => row["text"])).toEqual(documents.map(({ text }) => text));
  });

  it("goes to a folder of its own when none is named, and never into one that holds files", async () => {
    expect((await exported("")).uri).toBe(join(toy.folder, "data", "exports", `${toy.index.split("/")[1]}-parquet`));
    const again = await resultOf(toy.service, (await toy.service.index.exportParquet({ index: toy.index, uri: files.uri })).operation);
    expect(again).toMatchObject({ case: "error", value: { code: Code.FailedPrecondition } });
  });

  it("refuses a path that is not absolute, and an index that is not there", async () => {
    await expect(toy.service.index.exportParquet({ index: toy.index, uri: "some/where" })).rejects.toMatchObject({ code: Code.InvalidArgument });
    await expect(toy.service.index.exportParquet({ index: "indexes/none" })).rejects.toMatchObject({ code: Code.NotFound });
  });
});
