import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { runningSystem, startSystem, type ProcessExit, type RunningSystem, type RunFile } from "../../src/up/index.ts";
import { fakeSpecs, writeFakeServices } from "./fake-services.ts";

let folder: string;
let order: string;
let system: RunningSystem | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mistral-sae-up-"));
  order = join(folder, "order");
  writeFileSync(order, "");
  writeFakeServices(join(folder, "services"));
});
afterEach(async () => {
  await system?.stop();
  system = undefined;
  rmSync(folder, { recursive: true, force: true });
});

function options(env: Record<string, string> = {}) {
  return {
    dataDir: join(folder, "data"),
    specs: fakeSpecs,
    servicesDir: join(folder, "services"),
    env: { FAKE_ORDER: order, ...env },
    supervisor: { backoffMs: 20, stopGraceMs: 3000, readyTimeoutMs: 20_000 },
  };
}

const log = (name: string): string => readFileSync(join(folder, "data/logs", `${name}.log`), "utf8");
const runFile = (): RunFile => JSON.parse(readFileSync(join(folder, "data/run.json"), "utf8")) as RunFile;

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test("services start behind those they need and stop before them", async () => {
  system = await startSystem(options());
  await system.stop();
  system = undefined;
  expect(readFileSync(order, "utf8").trim().split("\n")).toEqual(["up inference", "up training", "up gateway", "down gateway", "down training", "down inference"]);
});

test("each service learns its folder, its threads, its models and its peers", async () => {
  system = await startSystem({ ...options(), threads: 3, models: { tiny: "/models/tiny", other: "/models/other" } });
  const { services, http } = system.addresses;
  await vi.waitFor(() => expect(log("gateway")).toContain("MISTRAL_SAE_DATA"));
  const told = (name: string) => JSON.parse(log(name).trim().split("\n").at(-1) ?? "") as Record<string, string>;
  expect(told("gateway")).toMatchObject({
    MISTRAL_SAE_LISTEN: services.gateway,
    MISTRAL_SAE_GATEWAY_HTTP_LISTEN: http.slice("http://".length),
    MISTRAL_SAE_DATA: join(folder, "data/gateway"),
    MISTRAL_SAE_TRAINING: services.training,
    MISTRAL_SAE_INFERENCE: services.inference,
    MISTRAL_SAE_THREADS: "3",
    MISTRAL_SAE_PARENT_PIPE: "1",
  });
  expect(told("inference")["MISTRAL_SAE_MODELS"]).toBe("tiny=/models/tiny\nother=/models/other");
  expect(told("training")["MISTRAL_SAE_MODELS"]).toBeUndefined();
});

test("run.json says where everything is, and is gone after the end", async () => {
  system = await startSystem(options());
  expect(runFile()).toMatchObject({ pid: process.pid, addresses: system.addresses });
  expect(Object.keys(runFile().pids)).toEqual(["inference", "training", "gateway"]);
  expect(runningSystem(join(folder, "data"))?.addresses).toEqual(system.addresses);
  await system.stop();
  system = undefined;
  expect(runningSystem(join(folder, "data"))).toBeUndefined();
});

test("a second start on the same folder is refused and told where the first one runs", async () => {
  system = await startSystem(options());
  await expect(startSystem(options())).rejects.toThrow(`a system already runs on ${join(folder, "data")} (process ${process.pid}, gateway ${system.addresses.gateway}`);
});

test("a service that ends by itself comes back at the same address", async () => {
  system = await startSystem(options());
  const exits: ProcessExit[] = [];
  system.onExit((exit) => exits.push(exit));
  const before = runFile().pids["training"];
  const [host = "", port = ""] = system.addresses.services.training.split(":");
  connect(Number(port), host).on("error", () => undefined).end("die");
  await vi.waitFor(() => expect(exits).toEqual([{ name: "training", code: 9, signal: null, restartInMs: 20 }]), { timeout: 5000 });
  await vi.waitFor(() => expect(runFile().pids["training"]).not.toBe(before), { timeout: 5000 });
  await vi.waitFor(async () => once(connect(Number(port), host), "connect"), { timeout: 5000 });
});

test("a service that cannot start is told with the end of its log, and the others are stopped", async () => {
  await expect(startSystem(options({ FAKE_NAME_FAILS: "training" }))).rejects.toThrow(/training ended before it was ready \(exit code 7\)[\s\S]*the disk is upside down/);
  expect(readFileSync(order, "utf8").trim().split("\n")).toEqual(["up inference", "down inference"]);
  system = await startSystem(options());
});

test("a port that is taken is left alone", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const address = other.address();
  const port = typeof address === "object" ? (address?.port ?? 0) : 0;
  system = await startSystem({ ...options(), specs: fakeSpecs.map((spec) => (spec.name === "training" ? { ...spec, port } : spec)) });
  expect(system.addresses.services.training).not.toBe(`127.0.0.1:${port}`);
  other.close();
});

test("aborting the start stops what has started", async () => {
  const abort = new AbortController();
  const starting = startSystem({ ...options(), signal: abort.signal, onReady: () => abort.abort(new Error("enough")) });
  await expect(starting).rejects.toThrow("enough");
  expect(runningSystem(join(folder, "data"))).toBeUndefined();
});

test("no service outlives a supervisor that is killed, and the folder is free again", async () => {
  const script = join(folder, "supervisor.ts");
  const source = new URL("../../src/up/index.ts", import.meta.url).pathname;
  writeFileSync(script, `import { startSystem } from ${JSON.stringify(source)};\nawait startSystem(${JSON.stringify(options())});\nconsole.log("started");\nsetInterval(() => undefined, 1000);\n`);
  const supervisor = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
  await once(supervisor.stdout, "data");
  const pids = Object.values(runFile().pids);
  expect(pids.every(alive)).toBe(true);
  supervisor.kill("SIGKILL");
  await vi.waitFor(() => expect(pids.filter(alive)).toEqual([]), { timeout: 5000 });
  system = await startSystem(options());
});
