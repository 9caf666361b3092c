import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SmallReads } from "../../src/client/small-reads.ts";
import { type TestServer, testServer } from "../fixtures/with-server.ts";

let test: TestServer;
beforeAll(async () => void (test = await testServer()));
afterAll(() => test.end());

describe("small reads", () => {
  it("bring a result as RowBinary, its parameters bound", async () => {
    const bytes = await test.owner.small("SELECT toUInt16(7), {ids:Array(UInt32)}, {n:UInt8}", { ids: [3, 1], n: 9 });
    expect(bytes).toEqual(Buffer.from([7, 0, 2, 3, 0, 0, 0, 1, 0, 0, 0, 9]));
    expect(await test.owner.small("SELECT 1 WHERE 0")).toHaveLength(0);
  });

  it("tell what kind of failure it was, also when rows came before it", async () => {
    await expect(test.owner.small("SELECT no_such_column")).rejects.toMatchObject({ name: "SqlError", failure: "statement", code: 47, type: "UNKNOWN_IDENTIFIER" });
    await expect(test.owner.small("SELECT sleep(3)", {}, { max_execution_time: 1 })).rejects.toMatchObject({ failure: "time" });
    await expect(test.owner.small("SELECT throwIf(number = 300000, 'too far') FROM numbers(400000)", {}, { max_block_size: "65536" })).rejects.toMatchObject({ code: 395 });
  });

  it("are repeated once over a new connection when the server ended the one that they went out on", async () => {
    let requests = 0;
    // Answers each connection once and hangs up at the second request.
    const server = createServer((request, response) => {
      requests += 1;
      if (requests === 2) request.socket.destroy();
      else response.end("x");
    });
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const reads = new SmallReads(url, { username: "u", password: "p" }, 4, 1_000);
    for (let i = 0; i < 2; i++) expect((await reads.read("SELECT 1", {}, {})).toString()).toBe("x");
    expect(requests).toBe(3);
    reads.close();
    await new Promise((closed) => server.close(closed));
    await expect(reads.read("SELECT 1", {}, {})).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });
});
