import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { demoModelDir } from "@mistral-sae/demo-model";
import { createClient } from "@mistral-sae/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

let data: string;
beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), "inference-"));
});
afterAll(async () => {
  await rm(data, { recursive: true, force: true });
});

function start(env: Readonly<Record<string, string>>): ChildProcess {
  const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
  return spawn(process.execPath, [main], {
    env: { ...process.env, MISTRAL_SAE_LISTEN: "127.0.0.1:0", MISTRAL_SAE_DATA: data, MISTRAL_SAE_THREADS: "1", ...env },
    stdio: ["pipe", "pipe", "pipe"],
  });
}

async function readyLine(child: ChildProcess): Promise<{ ready: string; address: string }> {
  for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) return JSON.parse(line) as { ready: string; address: string };
  throw new Error("the service ended without a ready line");
}

const ended = (child: ChildProcess) =>
  new Promise<number | null>((resolve) => {
    child.once("exit", (code) => resolve(code));
  });

describe("the process", () => {
  it("prints where it serves once its models are loaded, and ends well on SIGTERM", async () => {
    const child = start({ MISTRAL_SAE_MODELS: `demo=${demoModelDir}` });
    const { ready, address } = await readyLine(child);
    expect(ready).toBe("inference");
    const { models } = await createClient(InferenceService, address).listModels({});
    expect(models.map(({ name }) => name)).toEqual(["models/demo"]);
    const end = ended(child);
    child.kill("SIGTERM");
    expect(await end).toBe(0);
  });

  it("ends when its parent does", async () => {
    const child = start({ MISTRAL_SAE_PARENT_PIPE: "1" });
    await readyLine(child);
    const end = ended(child);
    child.stdin?.end();
    expect(await end).toBe(0);
  });

  it("does not start with a model that cannot be loaded, and says why", async () => {
    const child = start({ MISTRAL_SAE_MODELS: `bad=${data}` });
    let errors = "";
    child.stderr?.on("data", (chunk: Buffer) => (errors += chunk.toString()));
    expect(await ended(child)).not.toBe(0);
    expect(errors).toMatch(/holds no tokenizer/);
  });
});
