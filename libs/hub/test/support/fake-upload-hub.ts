import { createHash, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

interface StoredFile {
  readonly bytes: Buffer;
  readonly large: boolean;
}

/** A hub on loopback that takes uploads and holds their protocol to the letter: what it would not expect is answered 400 and noted. */
export class FakeUploadHub {
  readonly token = "hf_writes";
  /** Files by repository and path. */
  readonly repositories = new Map<string, Map<string, StoredFile>>();
  readonly created: Record<string, unknown>[] = [];
  readonly commits: { readonly summary: string; readonly branch: string; readonly paths: readonly string[] }[] = [];
  readonly asked: string[] = [];
  readonly violations: string[] = [];
  /** Large files go in parts of this many bytes. */
  partBytes: number | undefined;
  /** Statuses to answer instead, by the first path segment that matches: preupload, batch, part, commit. */
  readonly faults = new Map<string, number[]>();
  /** Changes what is stored, as a hub that loses bytes would. */
  damage = false;
  endpoint = "";
  readonly #objects = new Map<string, Buffer>();
  readonly #parts = new Map<string, Map<number, Buffer>>();
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        this.violations.push(error instanceof Error ? error.message : String(error));
        if (!response.headersSent) response.writeHead(400, { "content-type": "application/json" });
        response.end(JSON.stringify({ error: String(error) }));
      });
    });
  }

  static async open(): Promise<FakeUploadHub> {
    const hub = new FakeUploadHub();
    await new Promise<void>((resolve) => hub.#server.listen(0, "127.0.0.1", resolve));
    hub.endpoint = `http://127.0.0.1:${(hub.#server.address() as AddressInfo).port}`;
    return hub;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  bytes(id: string, path: string): Buffer | undefined {
    return this.repositories.get(id)?.get(path)?.bytes;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.endpoint);
    const body = Buffer.concat((await request.toArray()) as Buffer[]);
    this.asked.push(`${request.method} ${url.pathname}`);
    const json = (status: number, value: unknown): void => void response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    for (const [name, statuses] of this.faults) {
      if (url.pathname.includes(name) && statuses.length > 0) return json(statuses.shift()!, { error: "come again" });
    }
    const stored = /^\/store\/([0-9a-f]{64})(?:\/(\d+))?$/.exec(url.pathname);
    if (stored !== null) {
      // The store is another host for the real hub: the token must not get there.
      if (request.headers.authorization !== undefined) throw new Error("the token was sent to the store");
      return this.#store(stored[1]!, stored[2], request, body, response);
    }
    if (request.headers.authorization !== `Bearer ${this.token}`) return json(401, { error: "Invalid credentials" });
    if (url.pathname === "/api/repos/create") {
      const wanted = JSON.parse(body.toString()) as { readonly name: string; readonly organization: string };
      const id = `${wanted.organization}/${wanted.name}`;
      if (this.repositories.has(id)) return json(409, { error: "You already created this model repo" });
      this.created.push(wanted);
      this.repositories.set(id, new Map());
      return json(200, { url: `${this.endpoint}/${id}`, id });
    }
    const [, id = "", rest = ""] = /^\/(?:api\/models\/)?([^/]+\/[^/]+?)(?:\.git)?(\/.*)?$/.exec(url.pathname) ?? [];
    const files = this.repositories.get(id);
    if (files === undefined) return json(404, { error: "Repository not found" });
    if (rest === "" || rest.startsWith("/revision/")) {
      const siblings = [...files].map(([rfilename, file]) => ({ rfilename, size: file.bytes.length, blobId: gitSha(file.bytes), ...(file.large ? { lfs: { sha256: sha256(file.bytes), size: file.bytes.length } } : {}) }));
      return json(200, { id, sha: /^\/revision\/([0-9a-f]{40})$/.exec(rest)?.[1] ?? "0".repeat(40), siblings });
    }
    const resolved = /^\/(?:resolve|raw)\/[^/]+\/(.+)$/.exec(rest)?.[1];
    if (resolved !== undefined) return void response.writeHead(files.has(resolved) ? 200 : 404).end();
    if (rest.startsWith("/preupload/")) {
      const asked = JSON.parse(body.toString()) as { readonly files: readonly { readonly path: string; readonly size: number; readonly sample: string }[] };
      for (const { path, size, sample } of asked.files) if (Buffer.from(sample, "base64").length !== Math.min(512, size)) throw new Error(`the sample of ${path} is not its first 512 bytes`);
      return json(200, { files: asked.files.map(({ path }) => ({ path, uploadMode: path.endsWith(".safetensors") ? "lfs" : "regular", shouldIgnore: false })) });
    }
    if (rest === "/info/lfs/objects/batch") return json(200, this.#batch(JSON.parse(body.toString()) as Batch));
    const branch = /^\/commit\/([^/]+)$/.exec(rest)?.[1];
    if (branch !== undefined) return json(200, this.#commit(id, files, decodeURIComponent(branch), body.toString()));
    throw new Error(`unexpected ${request.method} ${url.pathname}`);
  }

  #batch({ operation, transfers, objects }: Batch): unknown {
    if (operation !== "upload" || !transfers.includes("multipart")) throw new Error("not a batch request for an upload");
    return {
      transfer: this.partBytes === undefined ? "basic" : "multipart",
      objects: objects.map(({ oid, size }) => {
        if (this.#objects.has(oid)) return { oid, size };
        const href = `${this.endpoint}/store/${oid}`;
        if (this.partBytes === undefined) return { oid, size, actions: { upload: { href } } };
        const parts = Array.from({ length: Math.ceil(size / this.partBytes) }, (_, i) => [String(i + 1).padStart(5, "0"), `${href}/${i + 1}`] as const);
        return { oid, size, actions: { upload: { href, header: { chunk_size: String(this.partBytes), ...Object.fromEntries(parts) } } } };
      }),
    };
  }

  #store(oid: string, part: string | undefined, { method }: IncomingMessage, body: Buffer, response: ServerResponse): void {
    if (part !== undefined) {
      const parts = this.#parts.get(oid) ?? new Map<number, Buffer>();
      this.#parts.set(oid, parts.set(Number(part), body));
      response.writeHead(200, { etag: `"${part}"` }).end();
      return;
    }
    const whole = method === "PUT" ? body : this.#join(oid, JSON.parse(body.toString()) as { readonly parts: readonly { readonly partNumber: number; readonly etag: string }[] });
    if (sha256(whole) !== oid) throw new Error("the bytes stored are not those announced");
    this.#objects.set(oid, whole);
    response.writeHead(200).end("{}");
  }

  #join(oid: string, { parts }: { readonly parts: readonly { readonly partNumber: number; readonly etag: string }[] }): Buffer {
    return Buffer.concat(parts.map(({ partNumber, etag }) => {
      if (etag !== `"${partNumber}"`) throw new Error(`part ${partNumber} has the etag ${etag}`);
      return this.#parts.get(oid)!.get(partNumber)!;
    }));
  }

  #commit(id: string, files: Map<string, StoredFile>, branch: string, body: string): unknown {
    const [header, ...operations] = body.split("\n").map((line) => JSON.parse(line) as Operation);
    if (header?.key !== "header") throw new Error("a commit begins with its header");
    for (const { key, value } of operations) {
      if (key === "file") files.set(value.path, { bytes: Buffer.from(value.content!, "base64"), large: false });
      else if (key === "lfsFile" && this.#objects.has(value.oid!)) {
        const bytes = this.#objects.get(value.oid!)!;
        files.set(value.path, { bytes: this.damage ? bytes.subarray(1) : bytes, large: true });
      } else throw new Error(`a commit of ${key} ${value.path} whose bytes were never sent`);
    }
    this.commits.push({ summary: header.value.summary!, branch, paths: operations.map(({ value }) => value.path) });
    const oid = randomBytes(20).toString("hex");
    return { success: true, commitOid: oid, commitUrl: `${this.endpoint}/${id}/commit/${oid}`, hookOutput: "" };
  }
}

interface Batch {
  readonly operation: string;
  readonly transfers: readonly string[];
  readonly objects: readonly { readonly oid: string; readonly size: number }[];
}

interface Operation {
  readonly key: string;
  readonly value: { readonly path: string; readonly content?: string; readonly oid?: string; readonly summary?: string };
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function gitSha(bytes: Buffer): string {
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}
