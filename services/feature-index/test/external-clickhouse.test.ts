import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ClickHouseServer, startEmbeddedServer } from "@mistral-sae/clickhouse";
import { toyDocuments, writeToyCorpus } from "./fixtures/toy-corpus.ts";
import { startToyInference, TOY, type ToyInference } from "./fixtures/toy-inference.ts";
import { finished, removeFolder, startService, temporaryFolder } from "./fixtures/with-service.ts";

let folder: string;
let server: ClickHouseServer;
let toy: ToyInference;

beforeAll(async () => {
  folder = temporaryFolder();
  server = await startEmbeddedServer({ folder: `${folder}/clickhouse`, threads: 2 });
  toy = await startToyInference();
});
afterAll(async () => {
  await toy.close(100);
  await server.stop();
  removeFolder(folder);
});

describe("a ClickHouse that others run", () => {
  it("is used by its URL and its users, and outlives the service", async () => {
    const options = { clickhouseUrl: server.url, clickhouseOwner: server.owner, clickhouseAnalyst: server.analyst };
    for (const attempt of [1, 2]) {
      const service = await startService(`${folder}/data`, toy.address, options);
      if (attempt === 1) {
        await service.index.createCorpus({ corpusId: "toy", source: { uri: writeToyCorpus(`${folder}/corpus`, toyDocuments(30)) } });
        await finished(service, (await service.index.indexCorpus({ sae: TOY.sae, corpus: "corpora/toy" })).operation);
      }
      const rows: string[] = [];
      for await (const { data } of service.index.query({ sql: "SELECT count() AS n FROM features" })) rows.push(new TextDecoder().decode(data));
      expect(rows.join("")).toBe(`{"n":${TOY.dSae}}\n`);
      await service.stop();
    }
  });
});
