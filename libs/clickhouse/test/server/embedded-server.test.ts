import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { ClickHouse, type ClickHouseServer, DataFolderInUse, startEmbeddedServer } from "../../src/index.ts";
import { temporaryFolder } from "../fixtures/with-server.ts";

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

function folderForTest(): string {
  const folder = temporaryFolder();
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function start(folder: string, env?: NodeJS.ProcessEnv): Promise<{ server: ClickHouseServer; owner: ClickHouse }> {
  const server = await startEmbeddedServer({ folder, threads: 2, ...(env === undefined ? {} : { env }) });
  const owner = new ClickHouse({ url: server.url, login: server.owner });
  cleanups.push(async () => {
    await owner.close();
    await server.stop();
  });
  return { server, owner };
}

interface OwnerSays {
  readonly pid: number;
  readonly url: string;
  readonly owner: { readonly username: string; readonly password: string };
}

/** A process that owns a server, for killing. */
async function ownerProcess(folder: string, env: NodeJS.ProcessEnv = process.env): Promise<{ child: ChildProcess; says: OwnerSays }> {
  const script = fileURLToPath(new URL("../fixtures/owner-process.ts", import.meta.url));
  const child = spawn(process.execPath, [script, folder], { stdio: ["ignore", "pipe", "inherit"], env });
  cleanups.push(() => void child.kill("SIGKILL"));
  const [line] = (await once(child.stdout as NonNullable<typeof child.stdout>, "data")) as [Buffer];
  return { child, says: JSON.parse(line.toString()) as OwnerSays };
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A zombie answers too: its new parent has not collected it yet.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

async function gone(pid: number): Promise<void> {
  while (lives(pid)) await sleep(20);
}

async function killed(child: ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  await once(child, "exit");
}

describe("startEmbeddedServer", () => {
  it("answers its owner, refuses everybody else, and ends when it is stopped", async () => {
    const { server, owner } = await start(folderForTest());
    expect(await owner.row("SELECT 1 + 1 AS sum")).toEqual({ sum: 2 });
    for (const user of ["default", "owner", "analyst"]) {
      const stranger = new ClickHouse({ url: server.url, login: { username: user, password: "" } });
      await expect(stranger.rows("SELECT 1")).rejects.toThrow(user === "default" ? "session count" : "Authentication failed");
      await stranger.close();
    }
    await server.stop();
    expect(lives(server.pid as number)).toBe(false);
  });

  it("keeps its configuration to this user and no password on the disk", async () => {
    const folder = folderForTest();
    const { server } = await start(folder);
    for (const name of ["config.xml", "users.xml", "server.pid", "server.log"]) {
      const path = join(folder, name);
      expect(statSync(path).mode & 0o777, name).toBe(0o600);
      expect(readFileSync(path, "utf8")).not.toContain(server.owner.password);
    }
  });

  it("starts the server anew at the same place when it was killed, with every acknowledged row", async () => {
    const { server, owner } = await start(folderForTest());
    await owner.command("CREATE TABLE kept (a UInt32) ENGINE = MergeTree ORDER BY a");
    for (let round = 1; round <= 3; round++) {
      await owner.command("INSERT INTO kept SELECT number FROM numbers(1000)");
      const { pid } = server;
      process.kill(pid as number, "SIGKILL");
      await expect(owner.rows("SELECT sleep(3)")).rejects.toMatchObject({ failure: "connection" });
      const count = async (): Promise<unknown> => await owner.row("SELECT count() AS n FROM kept").catch(async () => await sleep(20).then(count));
      expect(await count()).toEqual({ n: 1000 * round });
      while (server.pid === pid) await sleep(10);
    }
  });

  it("starts the server anew when its successor is killed while it is still starting", async () => {
    const folder = folderForTest();
    const { server, owner } = await start(folder);
    const recorded = (): number => (JSON.parse(readFileSync(join(folder, "server.pid"), "utf8")) as { readonly server: readonly { readonly pid: number }[] }).server[0]?.pid ?? 0;
    for (let round = 0; round < 2; round++) {
      const pid = recorded();
      process.kill(pid, "SIGKILL");
      while (recorded() === pid) await sleep(2);
    }
    const answer = async (): Promise<unknown> => await owner.row("SELECT 1 AS one").catch(async () => await sleep(20).then(answer));
    expect(await answer()).toEqual({ one: 1 });
    await expect.poll(() => server.pid).toBe(recorded());
  });

  it("says so when the server cannot be started anew", async () => {
    const folder = folderForTest();
    const { server } = await start(folder);
    writeFileSync(join(folder, "config.xml"), "<clickhouse><http_port>no port</http_port></clickhouse>");
    process.kill(server.pid as number, "SIGKILL");
    expect((await server.died).message).toContain("could not be started anew");
  });

  it("ends with a parent that is killed", async () => {
    const { child, says } = await ownerProcess(folderForTest());
    await killed(child);
    await gone(says.pid);
    expect(lives(says.pid)).toBe(false);
  });

  it("ends a leftover that hangs, and starts over its data", async () => {
    const folder = folderForTest();
    const { child, says } = await ownerProcess(folder);
    const before = new ClickHouse({ url: says.url, login: says.owner });
    await before.command("CREATE TABLE kept (a UInt32) ENGINE = MergeTree ORDER BY a AS SELECT 7 AS a");
    await before.close();
    process.kill(says.pid, "SIGSTOP");
    await killed(child);
    const server = await startEmbeddedServer({ folder, threads: 2, stopTimeoutMs: 500 });
    cleanups.push(() => server.stop());
    expect(lives(says.pid)).toBe(false);
    const owner = new ClickHouse({ url: server.url, login: server.owner });
    cleanups.push(() => owner.close());
    expect(await owner.rows("SELECT a FROM kept")).toEqual([{ a: 7 }]);
  });

  it("refuses a folder that a live process uses, and names that process", async () => {
    const folder = folderForTest();
    await start(folder);
    await expect(startEmbeddedServer({ folder })).rejects.toThrow(DataFolderInUse);
    await expect(startEmbeddedServer({ folder })).rejects.toThrow(`in use by process ${process.pid}`);
  });

  it("refuses a folder that is locked by a server it knows nothing of", async () => {
    const folder = folderForTest();
    await start(folder);
    rmSync(join(folder, "server.pid"));
    await expect(startEmbeddedServer({ folder })).rejects.toThrow("in use by another ClickHouse server");
  });

  it("leaves alone a process that took the id of a former server", async () => {
    const folder = folderForTest();
    const stranger = spawn("sleep", ["60"], { stdio: "ignore" });
    cleanups.push(() => void stranger.kill("SIGKILL"));
    writeFileSync(join(folder, "server.pid"), JSON.stringify({ server: [{ pid: stranger.pid, started: "1" }], owner: { pid: 1, started: "1" } }));
    await start(folder);
    expect(lives(stranger.pid as number)).toBe(true);
  });

  it("prefers a clickhouse binary on PATH, which ends with a parent that is killed", async () => {
    const bin = join(folderForTest(), "bin");
    mkdirSync(bin);
    const shim = fileURLToPath(new URL("../fixtures/clickhouse-binary.ts", import.meta.url));
    writeFileSync(join(bin, "clickhouse"), `#!/bin/sh\nexec "${process.execPath}" "${shim}" "$@"\n`);
    chmodSync(join(bin, "clickhouse"), 0o755);
    const folder = folderForTest();
    const { child, says } = await ownerProcess(folder, { ...process.env, PATH: `${bin}:${dirname(process.execPath)}:/usr/bin:/bin` });
    const noted = JSON.parse(readFileSync(join(folder, "server.pid"), "utf8")) as { readonly server: readonly { readonly pid: number }[] };
    const pids = noted.server.map(({ pid }) => pid);
    expect(pids).toHaveLength(2);
    expect(pids.every(lives)).toBe(true);
    await killed(child);
    await Promise.all(pids.map(gone));
    expect(says.pid).toBe(pids[0]);
  });
});
