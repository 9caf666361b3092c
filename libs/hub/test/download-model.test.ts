import { randomBytes } from "node:crypto";
import { lstat, mkdtemp, readdir, readFile, readlink, rm, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { InputError } from "@mistral-sae/tensor";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { downloadModel, type DownloadOptions, type DownloadProgress, HubError, type HubSettings, parseHubId } from "../src/index.ts";
import { FakeHub, type Fault } from "./support/fake-hub.ts";

const weights = "model.safetensors";
const size = 300_000;
const id = "tiny/mistral";

describe("a model downloaded from a hub", () => {
  let hub: FakeHub;
  let cacheDir: string;
  beforeEach(async () => {
    hub = await FakeHub.open();
    cacheDir = await mkdtemp(join(tmpdir(), "hub-cache-"));
    hub.files.set("config.json", { bytes: Buffer.from('{"architectures":["MistralForCausalLM"]}'), large: false });
    hub.files.set("tokenizer.json", { bytes: Buffer.from("{}"), large: false });
    hub.files.set(weights, { bytes: randomBytes(size), large: true });
    for (const name of ["README.md", "pytorch_model.bin", "consolidated.safetensors", "onnx/model.safetensors"]) hub.files.set(name, { bytes: randomBytes(100), large: false });
  });
  afterEach(async () => {
    hub.close();
    await rm(cacheDir, { recursive: true, force: true });
  });

  const settings = (more: Partial<HubSettings> = {}): HubSettings => ({ endpoint: hub.endpoint, token: undefined, cacheDir, offline: false, ...more });
  const patience = { attempts: 3, stallMs: 400, pauseMs: 5 };
  const download = async (options: DownloadOptions & { readonly revision?: string } = {}): Promise<string> => await downloadModel(parseHubId(id, options.revision), { settings: settings(), patience, ...options });
  const repo = (): string => join(cacheDir, "models--tiny--mistral");
  const fault = (...faults: Fault[]): void => void hub.faults.set(weights, faults);
  const whole = async (folder: string): Promise<void> => expect((await readFile(join(folder, weights))).equals(hub.files.get(weights)!.bytes)).toBe(true);

  it("lies in the cache as Python's huggingface_hub lays it out, with the files that are read and no others", async () => {
    const folder = await download();
    expect(folder).toBe(join(repo(), "snapshots", hub.sha));
    expect((await readdir(folder)).sort()).toEqual(["config.json", weights, "tokenizer.json"]);
    expect(await readFile(join(repo(), "refs", "main"), "utf8")).toBe(hub.sha);
    expect(await readlink(join(folder, weights))).toBe(join("..", "..", "blobs", hub.etag(weights)));
    expect((await readdir(join(repo(), "blobs"))).sort()).toEqual(["config.json", "tokenizer.json", weights].map((name) => hub.etag(name)).sort());
    await whole(folder);
  });

  it("is not fetched again: a branch asks once what it points to, a commit asks nothing", async () => {
    await download();
    hub.asked.length = 0;
    await download();
    expect(hub.asked.map(({ path }) => path)).toEqual(["/api/models/tiny/mistral/revision/main?blobs=true"]);
    await download({ revision: hub.sha });
    expect(hub.asked.length).toBe(1);
  });

  it("goes on where the connection was cut", async () => {
    fault({ kind: "cut", afterBytes: 100_000 }, { kind: "cut", afterBytes: 50_000 });
    await whole(await download());
    const ranges = hub.fetches(weights).map(({ range }) => range);
    expect(ranges.length).toBe(3);
    expect(ranges[0]).toBeUndefined();
    for (const range of ranges.slice(1)) expect(range).toMatch(/^bytes=\d+-$/);
  });

  it("goes on when no byte comes any more", async () => {
    fault({ kind: "stall", afterBytes: 100_000 });
    await whole(await download());
    expect(hub.fetches(weights).length).toBe(2);
  });

  it("starts anew when the server knows no ranges", async () => {
    fault({ kind: "cut", afterBytes: 100_000 }, { kind: "no ranges" });
    await whole(await download());
    expect(hub.fetches(weights).length).toBe(2);
  });

  it("is fetched once more when its checksum is wrong, and refused when it stays wrong, leaving nothing", async () => {
    fault({ kind: "other bytes" });
    await whole(await download());
    await rm(repo(), { recursive: true });
    fault({ kind: "other bytes" }, { kind: "other bytes" });
    await expect(download()).rejects.toThrow(new RegExp(`${weights} was downloaded twice and does not have the checksum.*wanted ${hub.etag(weights)}`));
    expect((await readdir(join(repo(), "blobs"))).filter((name) => name.startsWith(hub.etag(weights)))).toEqual([]);
    hub.faults.set("config.json", [{ kind: "other bytes" }, { kind: "other bytes" }]);
    await rm(repo(), { recursive: true });
    await expect(download()).rejects.toThrow(/config\.json was downloaded twice/);
  });

  it("is refused when the server gives more than it says", async () => {
    fault({ kind: "too many bytes" });
    await expect(download()).rejects.toThrow(/more than the 300000 bytes/);
  });

  it("is given up when the server knows no ranges and always ends at the same place", async () => {
    fault(...Array.from({ length: 9 }, () => ({ kind: "no ranges", cutAfter: 100_000 }) as const));
    await expect(download()).rejects.toThrow(/without progress/);
    expect(hub.fetches(weights).length).toBeLessThan(7);
  });

  it("that was cancelled keeps what has come, and the next download goes on from there", async () => {
    fault({ kind: "stall", afterBytes: 100_000 });
    const stop = new AbortController();
    const cancelled = download({ signal: stop.signal, patience: { ...patience, stallMs: 60_000 }, onProgress: ({ doneBytes }) => doneBytes > 50_000 && stop.abort(new Error("enough")) });
    await expect(cancelled).rejects.toThrow("enough");
    const [part] = (await readdir(join(repo(), "blobs"))).filter((name) => name.endsWith(".incomplete"));
    const kept = (await lstat(join(repo(), "blobs", part!))).size;
    expect(kept).toBeGreaterThan(0);
    hub.asked.length = 0;
    const seen: DownloadProgress[] = [];
    await whole(await download({ onProgress: (progress) => seen.push(progress) }));
    expect(hub.fetches(weights).map(({ range }) => range)).toEqual([`bytes=${kept}-`]);
    const totalBytes = size + hub.files.get("config.json")!.bytes.length + 2;
    expect(seen.at(-1)).toEqual({ doneBytes: totalBytes, totalBytes, doneFiles: 3, totalFiles: 3 });
  });

  it("takes over what a dead process or an older program left, and leaves what a live process writes", async () => {
    const { bytes } = hub.files.get(weights)!;
    await download();
    const blobs = join(repo(), "blobs");
    const leave = async (name: string, content: Buffer, ageSeconds: number): Promise<string> => {
      const path = join(blobs, `${hub.etag(weights)}${name}`);
      await writeFile(path, content);
      const then = Date.now() / 1000 - ageSeconds;
      await utimes(path, then, then);
      return path;
    };
    const host = hostname().replaceAll(/[^\w.]/g, "_");
    const again = async (): Promise<string | undefined> => {
      await rm(join(blobs, hub.etag(weights)));
      hub.asked.length = 0;
      await whole(await download());
      return hub.fetches(weights)[0]?.range;
    };
    await leave(`.${host}-4194303.incomplete`, bytes.subarray(0, 1000), 0);
    expect(await again()).toBe("bytes=1000-");
    await leave(".incomplete", bytes.subarray(0, 2000), 1000);
    expect(await again()).toBe("bytes=2000-");
    const live = await leave(`.${host}-${process.ppid}.incomplete`, bytes.subarray(0, 3000), 0);
    expect(await again()).toBeUndefined();
    expect((await readFile(live)).length).toBe(3000);
    await rm(live);
    await leave(".incomplete", Buffer.alloc(4000), 1000);
    expect(await again()).toBe("bytes=4000-");
    expect(hub.fetches(weights).length).toBe(2);
  });

  it("is fetched once when it is asked for twice at the same time", async () => {
    const folders = await Promise.all([download(), download(), download({ revision: "v1" })]);
    expect(new Set(folders).size).toBe(1);
    expect(hub.fetches(weights).length).toBe(1);
  });

  it("waits as the server asks, and gives up in the end", async () => {
    hub.faults.set("api", [{ kind: "status", status: 429, headers: { "retry-after": "0" } }, { kind: "status", status: 503 }]);
    await whole(await download());
    await rm(repo(), { recursive: true });
    hub.faults.set("api", Array.from({ length: 9 }, () => ({ kind: "status" as const, status: 503 })));
    await expect(download()).rejects.toThrow(/answered 503.*gave up after 3 attempts/);
  });

  it("comes from the cache when the hub is away or must not be asked", async () => {
    const folder = await download();
    hub.close();
    expect(await download()).toBe(folder);
    expect(await download({ settings: settings({ offline: true }) })).toBe(folder);
    await rm(join(folder, weights));
    await expect(download({ settings: settings({ offline: true }) })).rejects.toThrow(/not in the cache.*HF_HUB_OFFLINE unset/);
    await expect(download()).rejects.toThrow(HubError);
  });

  it("sends the token to the hub and to nobody else, and says what is missing without one", async () => {
    hub.token = "hf_secret";
    await expect(download()).rejects.toThrow(/does not let tiny\/mistral be read.*got 401 Access to model is restricted, wanted a token in HF_TOKEN/);
    await whole(await download({ settings: settings({ token: "hf_secret" }) }));
    expect(hub.fetches(weights).map(({ authorization }) => authorization)).toEqual([undefined]);
    expect(hub.asked.filter(({ authorization }) => authorization !== undefined).length).toBeGreaterThan(2);
  });

  it("that the hub does not have, or that has no safetensors, is refused by name", async () => {
    await expect(downloadModel(parseHubId("tiny/nothing"), { settings: settings(), patience })).rejects.toThrow(/has no model tiny\/nothing at revision main/);
    await expect(download({ revision: "v9" })).rejects.toThrow(/at revision v9/);
    hub.files.delete(weights);
    hub.files.delete("consolidated.safetensors");
    await expect(download()).rejects.toThrow(/no weights that this program reads.*got pytorch_model\.bin/);
  });

  it("in Mistral's own layout alone is fetched in that layout", async () => {
    hub.files.delete(weights);
    hub.files.set("params.json", { bytes: Buffer.from("{}"), large: false });
    expect((await readdir(await download({ revision: "refs/pr/1" }))).sort()).toEqual(["config.json", "consolidated.safetensors", "params.json", "tokenizer.json"]);
  });
});

describe("the id of a model on the hub", () => {
  it("may name a revision", () => {
    expect(parseHubId("mistralai/Mistral-7B-v0.1")).toEqual({ id: "mistralai/Mistral-7B-v0.1", revision: "main" });
    expect(parseHubId("hf://a/b@refs/pr/1")).toEqual({ id: "a/b", revision: "refs/pr/1" });
    expect(parseHubId("a/b@x", "y").revision).toBe("y");
  });

  it.each(["", "name", "a/b/c", "../b", "a/..", "a--b/c", "/a/b", "a/b@", "a/b@../x", "a/b@x//y"])("%j is refused", (text) => {
    expect(() => parseHubId(text)).toThrow(InputError);
  });
});
