import { createHash, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** How the next answers for a file go wrong; each fault is used up by one answer. */
export type Fault =
  | { readonly kind: "cut"; readonly afterBytes: number }
  | { readonly kind: "stall"; readonly afterBytes: number }
  | { readonly kind: "other bytes" }
  | { readonly kind: "no ranges"; readonly cutAfter?: number }
  | { readonly kind: "too many bytes" }
  | { readonly kind: "status"; readonly status: number; readonly headers?: Readonly<Record<string, string>> };

export interface FakeFile {
  readonly bytes: Buffer;
  /** Stored as Git LFS: named by SHA-256 and served from another host, as the real hub does. */
  readonly large: boolean;
}

export interface Asked {
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

/** A model hub on loopback, and the host that it sends clients on to for large files. */
export class FakeHub {
  readonly sha = randomBytes(20).toString("hex");
  readonly files = new Map<string, FakeFile>();
  readonly faults = new Map<string, Fault[]>();
  readonly asked: Asked[] = [];
  token: string | undefined;
  endpoint = "";
  readonly #api: Server;
  readonly #store: Server;

  private constructor() {
    this.#api = createServer((request, response) => this.#answerApi(request, response));
    this.#store = createServer((request, response) => {
      this.#note(request);
      this.#send(decodeURIComponent(request.url?.slice(1) ?? ""), request, response);
    });
  }

  static async open(): Promise<FakeHub> {
    const hub = new FakeHub();
    for (const server of [hub.#api, hub.#store]) await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    hub.endpoint = `http://127.0.0.1:${(hub.#api.address() as AddressInfo).port}`;
    return hub;
  }

  /** Requests for a file's bytes. */
  fetches(name: string): readonly Asked[] {
    return this.asked.filter(({ path }) => path === `/${name}` || (path.endsWith(`/${name}`) && !this.files.get(name)?.large));
  }

  etag(name: string): string {
    const { bytes, large } = this.files.get(name)!;
    return large ? createHash("sha256").update(bytes).digest("hex") : createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
  }

  close(): void {
    for (const server of [this.#api, this.#store]) {
      server.closeAllConnections();
      server.close();
    }
  }

  #note({ url = "", headers }: IncomingMessage): void {
    this.asked.push({ path: url, range: headers.range, authorization: headers.authorization });
  }

  #answerApi(request: IncomingMessage, response: ServerResponse): void {
    this.#note(request);
    const url = new URL(request.url ?? "/", this.endpoint);
    if (this.token !== undefined && request.headers.authorization !== `Bearer ${this.token}`) {
      response.writeHead(401, { "x-error-message": "Access to model is restricted" }).end();
      return;
    }
    const [, resolved] = /^\/tiny\/mistral\/resolve\/[^/]+\/(.+)$/.exec(url.pathname) ?? [];
    if (resolved !== undefined && this.files.has(resolved)) {
      if (this.files.get(resolved)!.large) response.writeHead(302, { location: `http://127.0.0.1:${(this.#store.address() as AddressInfo).port}/${resolved}` }).end();
      else this.#send(resolved, request, response);
      return;
    }
    if (/^\/api\/models\/tiny\/mistral\/revision\/(main|v1|refs%2Fpr%2F1)$/.test(url.pathname) || url.pathname.endsWith(`/revision/${this.sha}`)) {
      const fault = this.faults.get("api")?.shift();
      if (fault?.kind === "status") {
        response.writeHead(fault.status, fault.headers).end();
        return;
      }
      const siblings = [...this.files].map(([rfilename, { bytes, large }]) => ({
        rfilename,
        size: bytes.length,
        blobId: large ? "0".repeat(40) : this.etag(rfilename),
        ...(large ? { lfs: { sha256: this.etag(rfilename), size: bytes.length } } : {}),
      }));
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ id: "tiny/mistral", sha: this.sha, siblings }));
      return;
    }
    response.writeHead(404, { "x-error-message": "Repository not found" }).end();
  }

  #send(name: string, request: IncomingMessage, response: ServerResponse): void {
    const whole = this.files.get(name)?.bytes ?? Buffer.alloc(0);
    const fault = this.faults.get(name)?.shift();
    if (fault?.kind === "status") {
      response.writeHead(fault.status, fault.headers).end();
      return;
    }
    const start = fault?.kind === "no ranges" ? 0 : Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    if (start > 0 && start >= whole.length) {
      response.writeHead(416).end();
      return;
    }
    let body: Buffer = fault?.kind === "other bytes" ? Buffer.from(whole.map((byte) => byte ^ 1)) : whole;
    if (fault?.kind === "too many bytes") body = Buffer.concat([body, body]);
    body = body.subarray(start);
    const headers = { "content-length": body.length, ...(start > 0 ? { "content-range": `bytes ${start}-${whole.length - 1}/${whole.length}` } : {}) };
    response.writeHead(start > 0 ? 206 : 200, headers);
    const ends = fault?.kind === "cut" || fault?.kind === "stall" ? fault.afterBytes : fault?.kind === "no ranges" ? fault.cutAfter : undefined;
    if (ends === undefined) {
      response.end(body);
      return;
    }
    response.write(body.subarray(0, ends), () => {
      if (fault?.kind !== "stall") setTimeout(() => response.destroy(), 20);
    });
  }
}
