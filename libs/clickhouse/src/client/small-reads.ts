import { parseError } from "@clickhouse/client";
import { Agent as HttpAgent, type ClientRequest, type IncomingMessage, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { Login } from "../server/server-files.ts";

/** Values of `{name:Type}` parameters of a small read: keys are numbers. */
export type SmallParams = Readonly<Record<string, number | readonly number[]>>;

/**
 * Results of a few kilobytes, whole. The general client takes three times as long over a query that reads a few rows by
 * their key: this one sends it on a connection that stays open, and takes the bytes as they come.
 */
export class SmallReads {
  readonly #url: URL;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #agent: HttpAgent;
  readonly #request: typeof httpRequest;
  readonly #timeoutMs: number;

  constructor(url: string, { username, password }: Login, maxConnections: number, timeoutMs: number) {
    this.#url = new URL(url);
    this.#headers = { "X-ClickHouse-User": username, "X-ClickHouse-Key": password };
    const secure = this.#url.protocol === "https:";
    this.#request = secure ? httpsRequest : httpRequest;
    this.#agent = new (secure ? HttpsAgent : HttpAgent)({ keepAlive: true, maxSockets: maxConnections });
    this.#timeoutMs = timeoutMs;
  }

  /** The bytes of a SELECT that names its format. Settings and parameters go into the address. Rejects with ClickHouse's error, or the connection's. */
  async read(sql: string, params: SmallParams, settings: Readonly<Record<string, string | number>>): Promise<Buffer> {
    const search = new URLSearchParams({ wait_end_of_query: "1" });
    for (const [name, value] of Object.entries(settings)) search.set(name, String(value));
    for (const [name, value] of Object.entries(params)) search.set(`param_${name}`, typeof value === "object" ? `[${value.join(",")}]` : String(value));
    const url = new URL(this.#url);
    url.search = search.toString();
    try {
      return await this.#send(url, sql);
    } catch (error) {
      // The server ended a connection that lay idle while the query was on its way.
      if (!(error instanceof StaleConnection)) throw error;
      return await this.#send(url, sql);
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  async #send(url: URL, sql: string): Promise<Buffer> {
    return await new Promise((resolve, reject) => {
      const request: ClientRequest = this.#request(url, { method: "POST", agent: this.#agent, headers: this.#headers, timeout: this.#timeoutMs }, (response) => {
        collect(response).then((bytes) => {
          if (response.statusCode === 200) resolve(bytes);
          else reject(errorOf(response, bytes));
        }, reject);
      });
      request.on("timeout", () => request.destroy(new Error("Timeout error: ClickHouse was silent")));
      request.on("error", (error) => reject(request.reusedSocket ? new StaleConnection(error.message, { cause: error }) : error));
      request.end(sql);
    });
  }
}

class StaleConnection extends Error {}

async function collect(response: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of response) parts.push(part as Buffer);
  return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
}

function errorOf(response: IncomingMessage, body: Buffer): Error {
  const error = parseError(body.toString());
  return error.message === "" ? new Error(`ClickHouse answered ${response.statusCode}`) : error;
}
