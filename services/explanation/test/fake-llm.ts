import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A request that reached the fake endpoint. */
export interface SeenCall {
  readonly headers: IncomingHttpHeaders;
  readonly body: {
    readonly model: string;
    readonly temperature: number;
    readonly seed: number;
    readonly messages: readonly { readonly role: string; readonly content: string }[];
    readonly response_format?: { readonly type: string };
  };
}

/** What the endpoint does with a call: a reply's text, a status with headers, or nothing at all. */
export type Answer = string | { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly message?: string } | undefined;

/** An OpenAI-compatible endpoint that answers by a script. */
export interface FakeLlm {
  readonly baseUrl: string;
  readonly calls: SeenCall[];
  answer: (call: SeenCall, n: number) => Answer;
  close(): void;
}

export async function startFakeLlm(answer: FakeLlm["answer"]): Promise<FakeLlm> {
  const calls: SeenCall[] = [];
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const call = { headers: request.headers, body: JSON.parse(Buffer.concat(chunks).toString("utf8")) as SeenCall["body"] };
      calls.push(call);
      reply(response, fake.answer(call, calls.length));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const fake: FakeLlm = {
    baseUrl: `http://127.0.0.1:${port}/v1`,
    calls,
    answer,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  return fake;
}

function reply(response: ServerResponse, answer: Answer): void {
  if (answer === undefined) return;
  const json = { "content-type": "application/json" };
  if (typeof answer === "object") {
    response.writeHead(answer.status, { ...json, ...answer.headers });
    response.end(JSON.stringify({ error: { message: answer.message ?? `status ${answer.status}` } }));
    return;
  }
  response.writeHead(200, json);
  const choices = [{ index: 0, finish_reason: "stop", message: { role: "assistant", content: answer } }];
  response.end(JSON.stringify({ id: "x", object: "chat.completion", model: "m", choices, usage: { prompt_tokens: 100, completion_tokens: 10, total_tokens: 110 } }));
}

/** The passages of a judge's question. */
export function passagesOf(call: SeenCall): string[] {
  const user = call.body.messages.at(-1)?.content ?? "";
  return (user.split("Passages:\n")[1] ?? "").split("\n").map((line) => line.replace(/^\d+\. /, ""));
}
