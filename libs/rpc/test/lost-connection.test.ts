import { createServer, type Http2Server, type Http2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { afterEach, expect, it } from "vitest";
import { aborted, cancelled, Code, createClient, implement, type RunningServer, startServer } from "../src/index.ts";

const closing: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

/** A peer that takes calls and then does what a killed process does: its sockets end without a word. */
async function dyingPeer(die: (session: Http2Session) => void): Promise<string> {
  const server: Http2Server = createServer();
  server.on("stream", (stream) => {
    stream.on("error", () => undefined);
    stream.respond({ ":status": 200, "content-type": "application/grpc+proto" });
    const { session } = stream;
    if (session !== undefined) setTimeout(() => die(session), 5);
  });
  server.on("sessionError", () => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(() => void server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function readAll(messages: AsyncIterable<unknown>): Promise<number> {
  let n = 0;
  for await (const message of messages) n += message === undefined ? 0 : 1;
  return n;
}

it("a peer that dies in the middle of a call is UNAVAILABLE, however its socket ends", async () => {
  for (const die of [(session: Http2Session) => session.socket.destroy(), (session: Http2Session) => session.destroy(), (session: Http2Session) => session.socket.resetAndDestroy()]) {
    const client = createClient(InferenceService, await dyingPeer(die));
    await expect(client.getModel({ name: "models/x" })).rejects.toMatchObject({ code: Code.Unavailable });
    await expect(readAll(client.generate({}))).rejects.toMatchObject({ code: Code.Unavailable });
  }
});

it("a peer that is not there is UNAVAILABLE", async () => {
  const address = await dyingPeer(() => undefined);
  for (const close of closing.splice(0)) await close();
  await expect(createClient(InferenceService, address).getModel({})).rejects.toMatchObject({ code: Code.Unavailable });
});

it("what a living peer answers keeps its code, and so does the caller's own abort and deadline", async () => {
  const server: RunningServer = await startServer({
    listen: "127.0.0.1:0",
    services: [
      implement(InferenceService, {
        getModel: async ({ name }) => {
          if (name === "hang") await new Promise(() => undefined);
          throw name === "aborted" ? aborted("RACE_LOST", "another was first") : cancelled("the other side gave up");
        },
        // eslint-disable-next-line require-yield
        async *generate(_request, { signal }) {
          await new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new Error("gone"))));
        },
      }),
    ],
  });
  closing.push(async () => await server.close(10));
  const client = createClient(InferenceService, server.address);
  await expect(client.getModel({ name: "aborted" })).rejects.toMatchObject({ code: Code.Aborted, reason: "RACE_LOST" });
  await expect(client.getModel({ name: "cancelled" })).rejects.toMatchObject({ code: Code.Canceled });
  await expect(client.getModel({ name: "hang" }, { timeoutMs: 30 })).rejects.toMatchObject({ code: Code.DeadlineExceeded });
  await expect(client.getModel({ name: "hang" }, { signal: AbortSignal.timeout(20) })).rejects.not.toMatchObject({ code: Code.Unavailable });
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 20);
  await expect(readAll(client.generate({}, { signal: abort.signal }))).rejects.toMatchObject({ code: Code.Canceled });
  await expect(readAll(client.generate({}, { timeoutMs: 20 }))).rejects.toMatchObject({ code: Code.DeadlineExceeded });
});
