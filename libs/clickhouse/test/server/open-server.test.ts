import { describe, expect, it } from "vitest";
import { ClickHouse, openClickHouse } from "../../src/index.ts";
import { temporaryFolder, testServer } from "../fixtures/with-server.ts";

describe("openClickHouse", () => {
  it("uses a server at a URL as it is, and leaves it running", async () => {
    const elsewhere = await testServer();
    const { url, owner, analyst } = elsewhere.server;
    const server = await openClickHouse({ url, owner, analyst, folder: temporaryFolder() });
    expect(server).toMatchObject({ url, owner, analyst, pid: undefined });
    await server.stop();
    await using client = new ClickHouse({ url: server.url, login: server.owner });
    expect(await client.rows("SELECT 1 AS one")).toEqual([{ one: 1 }]);
    await elsewhere.end();
  });
});
