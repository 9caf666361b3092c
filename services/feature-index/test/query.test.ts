import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { QueryFormat, type QueryRequest } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { QueryRequestSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { Code } from "@mistral-sae/rpc";
import { referenceFirings, referenceTokens } from "./fixtures/reference.ts";
import { toyDocuments, writeToyCorpus } from "./fixtures/toy-corpus.ts";
import { startToyInference, TOY, type ToyInference } from "./fixtures/toy-inference.ts";
import { finished, removeFolder, startService, temporaryFolder, type TestService } from "./fixtures/with-service.ts";

const documents = toyDocuments(120);
const tokens = referenceTokens(documents, 16);
const firings = referenceFirings(tokens);
let toy: ToyInference;
let service: TestService;
let folder: string;

beforeAll(async () => {
  folder = temporaryFolder();
  toy = await startToyInference();
  service = await startService(`${folder}/data`, toy.address);
  await service.index.createCorpus({ corpusId: "toy", source: { uri: writeToyCorpus(`${folder}/corpus`, documents) }, contextSize: 16 });
  const { operation } = await service.index.indexCorpus({ sae: TOY.sae, corpus: "corpora/toy" });
  await finished(service, operation);
});
afterAll(async () => {
  await service.stop();
  await toy.close(100);
  removeFolder(folder);
});

async function rows(request: MessageInitShape<typeof QueryRequestSchema>): Promise<{ rows: Record<string, unknown>[]; names: string[]; types: string[] }> {
  const pieces: Uint8Array[] = [];
  const names: string[] = [];
  const types: string[] = [];
  for await (const { data, columnNames, columnTypes } of service.index.query(request)) {
    pieces.push(data);
    names.push(...columnNames);
    types.push(...columnTypes);
  }
  const lines = Buffer.concat(pieces).toString().split("\n").filter((line) => line !== "");
  return { rows: lines.map((line) => JSON.parse(line) as Record<string, unknown>), names, types };
}

describe("query", () => {
  it("sees every activation by friendly names", async () => {
    const { rows: found, names, types } = await rows({ sql: "SELECT feature_index, count() AS n, countIf(is_special) AS special FROM activations GROUP BY feature_index ORDER BY feature_index" });
    expect(names).toEqual(["feature_index", "n", "special"]);
    expect(types).toEqual(["UInt32", "UInt64", "UInt64"]);
    expect(found).toEqual([...firings].sort(([a], [b]) => a - b).map(([feature_index, list]) => ({ feature_index, n: list.length, special: list.filter(({ special }) => special).length })));
  });

  it("places an activation in its window, and the window in its document", async () => {
    const { rows: found } = await rows({
      sql: `SELECT a.sequence_id AS sequence, token_index AS token, activation AS value, s.token_ids[token_index + 1] AS id, s.doc_id AS doc, d.source AS source, d.text AS text
            FROM activations AS a INNER JOIN sequences AS s ON s.sequence_id = a.sequence_id INNER JOIN documents AS d ON d.doc_id = s.doc_id
            WHERE feature_index = {feature:UInt32} ORDER BY sequence, token -- the end`,
      parameters: { feature: "4" },
    });
    // A Float32 comes as its shortest text.
    expect(found.map((row) => ({ ...row, value: Math.fround(row["value"] as number) }))).toEqual((firings.get(4) ?? []).map(({ sequence, token, value, id, doc, source }) => ({ sequence, token, value, id, doc, source, text: documents[doc]?.text })));
  });

  it("sees features with their tokens, and what the views are", async () => {
    const { rows: found } = await rows({ sql: "SELECT * FROM features WHERE feature_index = 95;" });
    expect(found).toMatchObject([{ index_name: "indexes/small-toy", sae: TOY.sae, corpus: "corpora/toy", dead: 1, n_firings: 0, top_tokens: [] }]);
    expect((await rows({ sql: "SHOW TABLES" })).rows.map(({ name }) => name)).toEqual(["activations", "documents", "explanations", "features", "indexes", "sequences", "tokens", "training_metrics"]);
    expect((await rows({ sql: "SELECT sum(n) AS n FROM tokens" })).rows).toEqual([{ n: tokens.filter(({ special }) => !special).length }]);
  });

  it("runs a saved query by its name", async () => {
    const { rows: found } = await rows({ savedQuery: "densest-features", parameters: { index: "indexes/small-toy" } });
    expect(found[0]).toMatchObject({ feature_index: 0 });
    for (const savedQuery of ["dead-features", "features-by-source"]) await rows({ savedQuery, parameters: { index: "indexes/small-toy" } });
    await rows({ savedQuery: "activation-histogram", parameters: { index: "indexes/small-toy", feature: "3" } });
    await expect(rows({ savedQuery: "no-such" })).rejects.toMatchObject({ code: Code.NotFound, message: expect.stringContaining("densest-features") as string });
  });

  it("stops after the rows asked for", async () => {
    expect((await rows({ sql: "SELECT number FROM numbers(100000)", maxRows: 1_234n })).rows).toHaveLength(1_234);
    expect((await rows({ sql: "SELECT number FROM numbers(0)" })).names).toEqual(["number"]);
  });

  it("streams Arrow", async () => {
    const bytes: Uint8Array[] = [];
    for await (const { data } of service.index.query({ sql: "SELECT feature_index, activation FROM activations", format: QueryFormat.ARROW_STREAM, maxRows: 500n })) bytes.push(data);
    const all = Buffer.concat(bytes);
    // An encapsulated message begins with a continuation marker, the stream ends with an empty one.
    expect(all.readUInt32LE(0)).toBe(0xffffffff);
    expect([...all.subarray(-8)]).toEqual([255, 255, 255, 255, 0, 0, 0, 0]);
    expect(all.includes("feature_index")).toBe(true);
  });

  it.each<[string, Partial<QueryRequest>, Code]>([
    ["a write", { sql: "INSERT INTO documents VALUES (1)" }, Code.PermissionDenied],
    ["a write to a table", { sql: "ALTER TABLE mistral_sae.postings DELETE WHERE 1" }, Code.PermissionDenied],
    ["a table behind the views", { sql: "SELECT count() FROM mistral_sae.postings" }, Code.PermissionDenied],
    ["a drop", { sql: "DROP VIEW features" }, Code.PermissionDenied],
    ["a file", { sql: "SELECT * FROM file('/etc/passwd', 'LineAsString')" }, Code.PermissionDenied],
    ["a file by the scalar function", { sql: "SELECT file('/etc/passwd')" }, Code.PermissionDenied],
    ["a URL", { sql: "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')" }, Code.PermissionDenied],
    ["a system table", { sql: "SELECT * FROM system.users" }, Code.PermissionDenied],
    ["a setting", { sql: "SELECT 1 SETTINGS max_threads = 9" }, Code.PermissionDenied],
    ["two statements", { sql: "SELECT 1; SELECT 2" }, Code.InvalidArgument],
    ["what is no SQL", { sql: "SELEKT" }, Code.InvalidArgument],
    ["an unknown column", { sql: "SELECT nothing FROM features" }, Code.InvalidArgument],
    ["a missing parameter", { sql: "SELECT {x:UInt8}" }, Code.InvalidArgument],
    ["nothing", { sql: " " }, Code.InvalidArgument],
    ["too many rows", { sql: "SELECT number FROM numbers(2000000)" }, Code.ResourceExhausted],
    ["too much memory", { sql: "SELECT groupArray(number) FROM numbers(1000000000)" }, Code.ResourceExhausted],
  ])("refuses %s", async (_, request, code) => {
    await expect(rows(request as MessageInitShape<typeof QueryRequestSchema>)).rejects.toMatchObject({ code });
  });

  it("ends on the server when the caller cancels", async () => {
    const abort = new AbortController();
    const endless = (async () => {
      for await (const piece of service.index.query({ sql: "SELECT sum(sipHash64(number)) FROM numbers_mt(200000000000)" }, { signal: abort.signal })) void piece;
    })();
    setTimeout(() => abort.abort(), 300);
    await expect(endless).rejects.toMatchObject({ code: Code.Canceled });
    // Its place is soon free again: as many as may run at a time do.
    const count = () => rows({ sql: "SELECT count() AS n FROM features" });
    const eight = async (): Promise<unknown[]> => {
      const results = await Promise.allSettled(Array.from({ length: 8 }, count));
      return results.some(({ status }) => status === "rejected") ? await eight() : results.map((result) => (result.status === "fulfilled" ? result.value.rows : undefined));
    };
    expect(await eight()).toEqual(Array.from({ length: 8 }, () => [{ n: TOY.dSae }]));
  });
});
