import { readFileSync } from "node:fs";
import { tableFromIPC } from "apache-arrow";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { QueryFormat, type QueryRequest } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { QueryRequestSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { Code } from "@mistral-sae/rpc";
import { referenceFirings, referenceTokens } from "./fixtures/reference.ts";
import { toyDocuments, writeToyCorpus } from "./fixtures/toy-corpus.ts";
import { startToyInference, TOY, toyText, type ToyInference } from "./fixtures/toy-inference.ts";
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
  const queryLimits = { maxExecutionSeconds: 2, maxResultRows: 100_000, maxResultBytes: 4 << 20, maxMemoryBytes: 200 << 20 };
  service = await startService(`${folder}/data`, toy.address, { queryLimits, maxQueries: 4 });
  await service.index.createCorpus({ corpusId: "toy", source: { uri: writeToyCorpus(`${folder}/corpus`, documents) }, contextSize: 16 });
  const { operation } = await service.index.indexCorpus({ sae: TOY.sae, corpus: "corpora/toy" });
  await finished(service, operation);
});
afterAll(async () => {
  await service.stop();
  await toy.close(100);
  removeFolder(folder);
});

interface Dashboard {
  readonly panels: readonly { readonly title: string; readonly targets: readonly { readonly rawSql: string }[] }[];
  readonly templating: { readonly list: readonly { readonly type: string; readonly query: string }[] };
}

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
    expect((await rows({ sql: "SHOW TABLES" })).rows.map(({ name }) => name)).toEqual(["activations", "documents", "examples", "explanations", "features", "indexes", "sequences", "tokens", "training_metrics"]);
    expect((await rows({ sql: "SELECT sum(n) AS n FROM tokens" })).rows).toEqual([{ n: tokens.filter(({ special }) => !special).length }]);
  });

  it("tells what each column of each view is", async () => {
    for (const { name } of (await rows({ sql: "SHOW TABLES" })).rows) {
      const { rows: columns } = await rows({ sql: `DESCRIBE ${String(name)}` });
      for (const column of columns) expect(column["comment"], `${String(name)}.${String(column["name"])}`).not.toBe("");
    }
  });

  it("reads the postings of one feature of one index alone", async () => {
    const { rows: plan } = await rows({ sql: "EXPLAIN indexes = 1 SELECT * FROM activations WHERE index_name = 'indexes/none' AND feature_index = 7 ORDER BY activation DESC LIMIT 20" });
    expect(JSON.stringify(plan)).not.toContain("Parts:");
    const { rows: other } = await rows({ sql: "EXPLAIN indexes = 1 SELECT * FROM activations WHERE index_name = 'indexes/small-toy' AND feature_index = 7" });
    for (const said of ["Parts: 1/1", "feature_index in [7, 7]"]) expect(JSON.stringify(other)).toContain(said);
  });

  it("runs what ships by its name", async () => {
    const { savedQueries } = await service.index.listSavedQueries({});
    expect(savedQueries.every(({ builtIn, description }) => builtIn && description !== "")).toBe(true);
    const values: Record<string, string> = { index: "indexes/small-toy", feature: "4", limit: "5", run: "trainingRuns/none" };
    const found = new Map<string, Record<string, unknown>[]>();
    for (const { name, parameters } of savedQueries) {
      found.set(name, (await rows({ savedQuery: name, parameters: Object.fromEntries(parameters.map((parameter) => [parameter.name, values[parameter.name] ?? ""])) })).rows);
    }
    expect(found.get("savedQueries/densest-features")?.[0]).toMatchObject({ feature_index: 0 });
    const fired = (firings.get(4) ?? []).filter(({ special }) => !special);
    const strongest = fired.toSorted((x, y) => y.value - x.value || x.sequence - y.sequence || x.token - y.token).slice(0, 5);
    const around = ({ sequence, token }: { readonly sequence: number; readonly token: number }) =>
      tokens.filter((other) => other.sequence === sequence && Math.abs(other.token - token) <= 10).map(({ id }) => toyText(id)).join("");
    expect(found.get("savedQueries/top-contexts")?.map(({ doc_id, sequence_id, token_index, context }) => ({ doc_id, sequence_id, token_index, context }))).toEqual(
      strongest.map((firing) => ({ doc_id: firing.doc, sequence_id: firing.sequence, token_index: firing.token, context: around(firing) })),
    );
    const sums = Map.groupBy(fired, ({ doc }) => doc);
    const best = [...sums].map(([doc, list]) => ({ doc_id: doc, n_firings: list.length, sum: list.reduce((sum, { value }) => sum + value, 0) })).sort((x, y) => y.sum - x.sum).slice(0, 3);
    expect(found.get("savedQueries/documents-of-feature")?.slice(0, 3)).toMatchObject(best.map(({ doc_id, n_firings }) => ({ doc_id, n_firings })));
    await expect(rows({ savedQuery: "no-such" })).rejects.toMatchObject({ code: Code.NotFound, message: expect.stringContaining("densest-features") as string });
  });

  it("answers Grafana's dashboard over plain HTTP, as its client asks", async () => {
    const text = readFileSync(new URL("../../../deploy/grafana/dashboards/mistral-sae.json", import.meta.url), "utf8");
    const { panels, templating } = JSON.parse(text) as Dashboard;
    const variables: Record<string, string> = { index: "'indexes/small-toy'", feature: "'3'", run: "'trainingRuns/none'" };
    const { url, analyst } = service.clickhouse;
    const ask = async (sql: string): Promise<unknown[]> => {
      const query = new URLSearchParams({ user: analyst.username, password: analyst.password, database: "sae", max_execution_time: "1", default_format: "JSONCompact" });
      const response = await fetch(`${url}/?${query.toString()}`, { method: "POST", body: sql.replaceAll(/\$\{(\w+):sqlstring\}/g, (_, name: string) => variables[name] ?? "") });
      const said = await response.text();
      expect(response.status, said).toBe(200);
      return (JSON.parse(said) as { data: unknown[] }).data;
    };
    for (const { query, type } of templating.list) if (type === "query") await ask(query);
    const empty: string[] = [];
    for (const { title, targets } of panels) if ((await ask(targets[0]?.rawSql ?? "")).length === 0) empty.push(title);
    expect(empty.filter((title) => !/^(?:Training|Explanations)/.test(title))).toEqual([]);
  });

  it("saves queries, lists their parameters, and leaves those that ship alone", async () => {
    const sql = "SELECT count() AS n -- {not:UInt8}\nFROM activations WHERE feature_index IN {features:Array(UInt32)} AND activation > {least:Float32}";
    const { savedQuery } = await service.index.putSavedQuery({ savedQuery: { name: "savedQueries/mine", sql: "SELECT 1", description: "old" } });
    expect(savedQuery).toMatchObject({ name: "savedQueries/mine", builtIn: false, parameters: [] });
    const { savedQuery: second } = await service.index.putSavedQuery({ savedQuery: { name: "savedQueries/mine", sql, description: "firings" } });
    expect(second).toMatchObject({ sql, description: "firings", parameters: [{ name: "features", type: "Array(UInt32)" }, { name: "least", type: "Float32" }] });
    const least = 2;
    const wanted = [3, 4].flatMap((feature) => firings.get(feature) ?? []).filter(({ value }) => value > least).length;
    expect((await rows({ savedQuery: "savedQueries/mine", parameters: { features: "[3, 4]", least: "2" } })).rows).toEqual([{ n: wanted }]);
    await expect(rows({ savedQuery: "mine", parameters: { features: "[3]" } })).rejects.toMatchObject({ code: Code.InvalidArgument, message: expect.stringContaining('"least" has no value') as string });
    await expect(rows({ savedQuery: "mine", parameters: { features: "[3]", least: "2", most: "3" } })).rejects.toMatchObject({ code: Code.InvalidArgument });
    for (const [query, code] of [
      [{ name: "savedQueries/densest-features", sql: "SELECT 1" }, Code.FailedPrecondition],
      [{ name: "savedQueries/bad", sql: "SELECT FROM WHERE" }, Code.InvalidArgument],
      [{ name: "savedQueries/bad", sql: "SELECT file('/etc/passwd')" }, Code.PermissionDenied],
      [{ name: "bad", sql: "SELECT 1" }, Code.InvalidArgument],
    ] as const) await expect(service.index.putSavedQuery({ savedQuery: query })).rejects.toMatchObject({ code });
    await service.index.deleteSavedQuery({ name: "savedQueries/mine" });
    await expect(service.index.deleteSavedQuery({ name: "savedQueries/mine" })).rejects.toMatchObject({ code: Code.NotFound });
    await expect(service.index.deleteSavedQuery({ name: "savedQueries/densest-features" })).rejects.toMatchObject({ code: Code.FailedPrecondition });
  });

  it("stops after the rows asked for", async () => {
    expect((await rows({ sql: "SELECT number FROM numbers(100000)", maxRows: 1_234n })).rows).toHaveLength(1_234);
    expect((await rows({ sql: "SELECT number FROM numbers(0)" })).names).toEqual(["number"]);
  });

  it("streams Arrow that a reader of it reads", async () => {
    const sql = "SELECT feature_index, activation, corpus FROM activations ORDER BY feature_index DESC, sequence_id, token_index";
    const bytes: Uint8Array[] = [];
    for await (const { data } of service.index.query({ sql, format: QueryFormat.ARROW_STREAM, maxRows: 500n })) bytes.push(data);
    const table = tableFromIPC(Buffer.concat(bytes));
    const wanted = [...firings].sort(([x], [y]) => y - x).flatMap(([feature_index, list]) => list.map(({ value }) => ({ feature_index, activation: value }))).slice(0, 500);
    expect(table.numRows).toBe(500);
    expect(Array.from(table.getChild("feature_index") ?? [])).toEqual(wanted.map(({ feature_index }) => feature_index));
    expect(Array.from(table.getChild("activation") ?? [])).toEqual(wanted.map(({ activation }) => activation));
    expect(String(table.getChild("corpus")?.get(0))).toBe("corpora/toy");
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
  ])("refuses %s", async (_, request, code) => {
    await expect(rows(request as MessageInitShape<typeof QueryRequestSchema>)).rejects.toMatchObject({ code });
  });

  it.each([
    ["rows", "SELECT number FROM numbers(200000)", Code.ResourceExhausted, /100\.00 thousand.*add LIMIT/s],
    ["bytes", "SELECT hex(toFixedString(toString(number), 500)) FROM numbers(9000)", Code.ResourceExhausted, /4\.00 MiB.*add LIMIT/s],
    ["memory", "SELECT groupArray(number) FROM numbers(1000000000)", Code.ResourceExhausted, /200\.00 MiB.*group by fewer/s],
    ["time", "SELECT sum(sipHash64(number)) FROM numbers(200000000000)", Code.DeadlineExceeded, /2000 ms.*read less/s],
  ])("says which limit of %s a query passes, and what to do", async (_, sql, code, message) => {
    await expect(rows({ sql })).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string });
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
    const four = async (): Promise<unknown[]> => {
      const results = await Promise.allSettled(Array.from({ length: 4 }, count));
      return results.some(({ status }) => status === "rejected") ? await four() : results.map((result) => (result.status === "fulfilled" ? result.value.rows : undefined));
    };
    expect(await four()).toEqual(Array.from({ length: 4 }, () => [{ n: TOY.dSae }]));
  });

  it("refuses one query too many before it begins", async () => {
    const abort = new AbortController();
    const busy = Array.from({ length: 4 }, async () => {
      for await (const piece of service.index.query({ sql: "SELECT sum(sipHash64(number)) FROM numbers(200000000000)" }, { signal: abort.signal })) void piece;
    });
    const ended = Promise.allSettled(busy);
    const another = async (): Promise<unknown> => await rows({ sql: "SELECT 1" }).then(another, (error: unknown) => error);
    expect(await another()).toMatchObject({ code: Code.ResourceExhausted, reason: "TOO_MANY_QUERIES", retryDelayMs: 1_000 });
    abort.abort();
    expect((await ended).map(({ status }) => status)).toEqual(Array.from({ length: 4 }, () => "rejected"));
  });
});
