import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Operation, OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { Code } from "@mistral-sae/rpc";
import { toyDocuments, writeToyCorpus } from "./fixtures/toy-corpus.ts";
import { noise, startToyInference, TOY, type ToyInference } from "./fixtures/toy-inference.ts";
import { clientsOf, finished, type IndexClients, removeFolder, startService, temporaryFolder } from "./fixtures/with-service.ts";

const CONTEXT = 64;
/** Where the service is killed; a stage that is over by then is passed by. */
const KILLS = ["tokenize", "encode", "encode", "statistics", "statistics", "co-activations", "logits", "merge"];
let toy: ToyInference;
let folder: string;
let corpus: string;
const children = new Set<ChildProcess>();

beforeAll(async () => {
  folder = temporaryFolder();
  toy = await startToyInference();
  corpus = writeToyCorpus(`${folder}/corpus`, toyDocuments(1_200));
});
afterAll(async () => {
  for (const child of children) child.kill("SIGKILL");
  await toy.close(100);
  removeFolder(folder);
});

interface ServiceProcess extends IndexClients {
  readonly child: ChildProcess;
}

/** The service as a process of its own. */
async function startProcess(data: string): Promise<ServiceProcess> {
  const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
  const env = { ...process.env, MISTRAL_SAE_LISTEN: "127.0.0.1:0", MISTRAL_SAE_DATA: data, MISTRAL_SAE_INFERENCE: toy.address, MISTRAL_SAE_THREADS: "2", MISTRAL_SAE_PARENT_PIPE: "1" };
  const child = spawn(process.execPath, [main], { stdio: ["pipe", "pipe", "inherit"], env });
  children.add(child);
  const [line] = (await once(child.stdout as NonNullable<typeof child.stdout>, "data")) as [Buffer];
  return { child, ...clientsOf((JSON.parse(line.toString()) as { address: string }).address) };
}

async function kill({ child }: ServiceProcess, signal: NodeJS.Signals): Promise<number | null> {
  const exit = once(child, "exit");
  child.kill(signal);
  const [code] = (await exit) as [number | null];
  children.delete(child);
  return code;
}

const ORDER = [...new Set(KILLS)];

/** The operation once it is in a stage or past it. */
async function reach({ operations }: IndexClients, name: string, stage: string): Promise<Operation | undefined> {
  for await (const { operation } of operations.watchOperation({ name })) {
    if (operation?.done === true || ORDER.indexOf(operation?.progress?.stage ?? "") >= ORDER.indexOf(stage)) return operation;
  }
  return undefined;
}

const request = { sae: TOY.sae, corpus: "corpora/toy", requestId: "index-1" };

async function begin({ index }: IndexClients) {
  await index.createCorpus({ corpusId: "toy", source: { uri: corpus }, contextSize: CONTEXT, requestId: "corpus-1" });
  return (await index.indexCorpus(request)).operation;
}

async function checksums({ index }: IndexClients): Promise<Record<string, string>> {
  const { indexes } = await index.listIndexes({ withTableChecksums: true });
  return indexes[0]?.tableChecksums ?? {};
}

describe("indexing", () => {
  it("ends with the same tables when it is killed again and again", async () => {
    const undisturbed = await startService(`${folder}/undisturbed`, toy.address);
    const built = await finished(undisturbed, await begin(undisturbed));
    const wanted = await checksums(undisturbed);
    await undisturbed.stop();

    // Slow enough for the kills to fall into every stage.
    toy.slowness = 10;
    const data = `${folder}/killed`;
    const stages = new Set<string>();
    let service = await startProcess(data);
    let operation = await begin(service);
    for (const [i, stage] of KILLS.entries()) {
      const now = await reach(service, operation?.name ?? "", stage);
      if (now?.done === true) break;
      stages.add(now?.progress?.stage ?? "");
      await sleep(150 * noise(i, 4));
      await kill(service, "SIGKILL");
      service = await startProcess(data);
      // The same request finds the same operation, which goes on by itself.
      operation = (await service.index.indexCorpus(request)).operation;
      expect(operation?.name).toBe(now?.name);
    }
    toy.slowness = 0;
    const rebuilt = await finished(service, operation);
    expect(await checksums(service)).toEqual(wanted);
    expect(rebuilt).toMatchObject({ nTokens: built.nTokens, nActivations: built.nActivations, nFeaturesAlive: built.nFeaturesAlive });
    expect(stages.size).toBeGreaterThan(3);
    const server = JSON.parse(readFileSync(join(data, "clickhouse/server.pid"), "utf8")) as { readonly server: readonly { readonly pid: number }[] };
    expect(await kill(service, "SIGTERM")).toBe(0);
    for (const { pid } of server.server) expect(() => process.kill(pid, 0)).toThrow("ESRCH");
  }, 240_000);

  it("ends with the same tables when ClickHouse is killed under it again and again", async () => {
    const service = await startService(`${folder}/undisturbed`, toy.address);
    const wanted = await checksums(service);
    await service.stop();

    toy.slowness = 10;
    const data = `${folder}/without-clickhouse`;
    const shaken = await startService(data, toy.address);
    const operation = await begin(shaken);
    let kills = 0;
    const server = () => JSON.parse(readFileSync(join(data, "clickhouse/server.pid"), "utf8")) as { readonly server: readonly { readonly pid: number }[] };
    for (const [i, stage] of KILLS.entries()) {
      const now = await reach(shaken, operation?.name ?? "", stage);
      if (now?.done === true) break;
      await sleep(200 * noise(i, 5));
      process.kill(server().server[0]?.pid ?? 0, "SIGKILL");
      kills += 1;
      await sleep(500);
    }
    toy.slowness = 0;
    await finished(shaken, operation);
    expect(kills).toBeGreaterThan(3);
    expect(await checksums(shaken)).toEqual(wanted);
    await shaken.stop();
  }, 240_000);

  it("stops when it is cancelled, goes on when it is resumed, and refuses to delete what it builds", async () => {
    toy.slowness = 30;
    const service = await startService(`${folder}/cancelled`, toy.address);
    const operation = await begin(service);
    const name = operation?.name ?? "";
    const stageOf = async () => (await service.operations.getOperation({ name })).operation?.progress?.stage;
    while ((await stageOf()) !== "tokenize") await sleep(5);
    await expect(service.index.deleteCorpus({ name: "corpora/toy" })).rejects.toMatchObject({ reason: "CORPUS_BUSY" });
    while ((await stageOf()) !== "encode") await sleep(20);
    const { indexes } = await service.index.listIndexes({});
    await expect(service.index.deleteIndex({ name: indexes[0]?.name ?? "" })).rejects.toMatchObject({ code: Code.FailedPrecondition, reason: "INDEX_BUSY" });
    await expect(service.index.deleteCorpus({ name: "corpora/toy" })).rejects.toMatchObject({ reason: "INDEX_BUSY" });
    await service.operations.cancelOperation({ name });
    expect((await service.operations.waitOperation({ name })).operation?.state).toBe(OperationState.CANCELLED);
    await expect(service.index.getFeature({ name: `${TOY.sae}/features/1` })).rejects.toMatchObject({ code: Code.NotFound });
    toy.slowness = 0;
    const { operation: resumed } = await service.operations.resumeOperation({ name });
    expect((await finished(service, resumed)).nTokens).toBeGreaterThan(0n);
    await service.index.deleteCorpus({ name: "corpora/toy" });
    expect((await service.index.listIndexes({})).indexes).toEqual([]);
    await service.stop();
  });

  it("fails with a reason when the SAE is replaced in the middle, and then indexes the new one beside the old", async () => {
    const service = await startService(`${folder}/replaced`, toy.address);
    const first = await finished(service, await begin(service));
    toy.slowness = 20;
    toy.digest = "toy-sae-2";
    const { operation } = await service.index.indexCorpus({ ...request, requestId: "index-2" });
    const stageOf = async () => (await service.operations.getOperation({ name: operation?.name ?? "" })).operation?.progress?.stage;
    while ((await stageOf()) !== "encode") await sleep(20);
    toy.digest = "toy-sae-3";
    await expect(finished(service, operation)).rejects.toThrow("was replaced while it was being indexed");
    toy.digest = "toy-sae-2";
    toy.slowness = 0;
    const { operation: resumed } = await service.operations.resumeOperation({ name: operation?.name ?? "" });
    const second = await finished(service, resumed);
    toy.digest = TOY.digest;
    expect(second).toMatchObject({ name: `${first.name}-2`, saeDigest: "toy-sae-2", nActivations: first.nActivations });
    await service.stop();
  });
});
