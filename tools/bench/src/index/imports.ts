import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type Operation, OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { type Client, createClient } from "@mistral-sae/rpc";
import { EXAMPLES_A_FEATURE, writeCache, writeDashboards } from "./import-folders.ts";
import { SAE, startSyntheticPeer } from "./peer.ts";

const calls = { delphi: "importDelphiCache", neuronpedia: "importNeuronpedia", saedashboard: "importSaeDashboard" } as const;
type Format = keyof typeof calls;

interface Service {
  readonly child: ChildProcess;
  readonly index: Client<typeof FeatureIndexService>;
  readonly operations: Client<typeof OperationService>;
}

/** `bench imports`: what other programs wrote, as an index; with --kills, killed with -9 and held against an import that was not. */
export async function runImportsBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { activations: { type: "string", default: "18500000" }, features: { type: "string", default: "4096" }, formats: { type: "string", default: "delphi,neuronpedia,saedashboard" }, folder: { type: "string" }, kills: { type: "string", default: "0" }, threads: { type: "string", default: "2" } },
  });
  const formats = values.formats.split(",").filter((name): name is Format => name in calls);
  const kills = Number(values.kills);
  const base = values.folder ?? (await mkdtemp(join(tmpdir(), "bench-imports-")));
  const shape = { dSae: 16_384, k: 32, dVocab: 32_000, dIn: 16, contextSize: 128 };
  const peer = await startSyntheticPeer(shape);
  try {
    for (const format of formats) {
      const folder = join(base, `${format}-${format === "delphi" ? values.activations : values.features}`);
      if (!existsSync(folder)) {
        console.log(`${format}: writing ${folder}`);
        if (format === "delphi") await writeCache(folder, "layers.16", shape, Number(values.activations));
        else await writeDashboards(folder, format, shape, Number(values.features));
      }
      const plain = await measure(format, folder, peer.address, Number(values.threads), { kills: 0, seconds: 0 });
      const n = format === "delphi" ? plain.nActivations : Number(values.features) * EXAMPLES_A_FEATURE;
      const unit = format === "delphi" ? "activations" : "examples";
      console.log(`${format}: ${n} ${unit}, ${(await bytesOf(folder) / 1e6).toFixed(0)} MB in ${plain.seconds.toFixed(1)} s, ${Math.round(n / plain.seconds)} ${unit}/s; largest RSS: service ${plain.serviceMb} MB, ClickHouse ${plain.databaseMb} MB; ${(plain.storedBytes / 1e6).toFixed(0)} MB stored; ${plain.stages}`);
      if (kills === 0) continue;
      const killed = await measure(format, folder, peer.address, Number(values.threads), { kills, seconds: plain.seconds });
      console.log(`${format}: killed ${killed.kills} times (${killed.stages}): ${killed.checksums === plain.checksums ? "the same tables" : "OTHER TABLES"}`);
      if (killed.checksums !== plain.checksums) process.exitCode = 1;
    }
  } finally {
    await peer.close(100);
    if (values.folder === undefined) await rm(base, { recursive: true, force: true });
  }
}

async function measure(format: Format, uri: string, inference: string, threads: number, { kills, seconds: usual }: { readonly kills: number; readonly seconds: number }) {
  const data = await mkdtemp(join(tmpdir(), "bench-import-data-"));
  let service = await start(data, inference, threads);
  try {
    const began = performance.now();
    const { operation } = await service.index[calls[format]]({ uri, sae: SAE, requestId: "import" });
    const name = operation?.name ?? "";
    const killedIn: string[] = [];
    for (let kill = 0; kill < kills; kill++) {
      // Long enough for the check of all files, which begins anew, to be passed now and then.
      await sleep(1000 * usual * (0.15 + 0.09 * ((kill * 3) % 5)));
      const { operation: now } = await service.operations.getOperation({ name });
      if (now?.done === true) break;
      killedIn.push(now?.progress?.stage ?? "");
      const gone = once(service.child, "exit");
      service.child.kill("SIGKILL");
      await gone;
      service = await start(data, inference, threads);
    }
    const ended = await done(service, name);
    const seconds = (performance.now() - began) / 1000;
    if (ended.result.case !== "response") throw new Error(`${format}: ${ended.result.case === "error" ? ended.result.value.message : "no result"}`);
    const { indexes } = await service.index.listIndexes({ withTableChecksums: true });
    const [index] = indexes;
    const pid = service.child.pid ?? 0;
    const server = JSON.parse(await readFile(join(data, "clickhouse/server.pid"), "utf8")) as { readonly server: readonly { readonly pid: number }[] };
    const { sizeBytes } = await service.index.getStorage({});
    const stages = killedIn.length > 0 ? killedIn.join(", ") : Object.entries(ended.progress?.stageSeconds ?? {}).map(([stage, s]) => `${stage} ${s.toFixed(1)} s`).join(", ");
    return {
      seconds,
      kills: killedIn.length,
      nActivations: Number(index?.nActivations ?? 0n),
      checksums: JSON.stringify(Object.entries(index?.tableChecksums ?? {}).toSorted(([a], [b]) => a.localeCompare(b))),
      serviceMb: await peakMb(pid),
      databaseMb: Math.max(0, ...(await Promise.all(server.server.map(async ({ pid: child }) => await peakMb(child))))),
      storedBytes: Number(sizeBytes),
      stages,
    };
  } finally {
    const gone = once(service.child, "exit");
    service.child.kill("SIGTERM");
    await gone;
    await rm(data, { recursive: true, force: true });
  }
}

async function done({ operations }: Service, name: string): Promise<Operation> {
  for (;;) {
    const { operation } = await operations.waitOperation({ name, timeout: { seconds: 20n } });
    if (operation?.done === true) return operation;
  }
}

async function start(data: string, inference: string, threads: number): Promise<Service> {
  const main = fileURLToPath(new URL("../../../../services/feature-index/src/main.ts", import.meta.url));
  const env = { ...process.env, MISTRAL_SAE_LISTEN: "127.0.0.1:0", MISTRAL_SAE_DATA: data, MISTRAL_SAE_INFERENCE: inference, MISTRAL_SAE_THREADS: String(threads), MISTRAL_SAE_PARENT_PIPE: "1" };
  const child = spawn(process.execPath, [main], { stdio: ["pipe", "pipe", "inherit"], env });
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('{"ready"')) continue;
    child.stdout.resume();
    const { address } = JSON.parse(line) as { readonly address: string };
    return { child, index: createClient(FeatureIndexService, address), operations: createClient(OperationService, address) };
  }
  throw new Error("the feature-index service ended before it was ready");
}

/** Largest resident memory of a process so far. */
async function peakMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
}

async function bytesOf(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name))).size;
  return bytes;
}
