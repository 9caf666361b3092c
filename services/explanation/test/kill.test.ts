import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { ExplanationService } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { createClient } from "@mistral-sae/rpc";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type FakeIndex, sae, startFakeIndex } from "./fake-feature-index.ts";
import { type FakeLlm, startFakeLlm } from "./fake-llm.ts";
import { resultOf } from "./running-service.ts";

const features = 160;
const live = features * 0.9;
let data: string;
let index: FakeIndex;
let llm: FakeLlm;

beforeAll(async () => {
  data = mkdtempSync(join(tmpdir(), "explanation-kill-"));
  index = await startFakeIndex(features);
  llm = await startFakeLlm((_call, n) => (n % 9 === 0 ? { status: 500, headers: { "retry-after": "0.01" } } : '{"explanation":"words"}'));
});

afterAll(async () => {
  llm.close();
  await index.server.close(100);
  rmSync(data, { recursive: true });
});

async function startProcess(): Promise<{ child: ChildProcess; address: string }> {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", join(import.meta.dirname, "../src/main.ts")], {
    env: {
      ...process.env,
      MISTRAL_SAE_LISTEN: "127.0.0.1:0",
      MISTRAL_SAE_DATA: data,
      MISTRAL_SAE_FEATURE_INDEX: index.server.address,
      MISTRAL_SAE_LLM_BASE_URL: llm.baseUrl,
      MISTRAL_SAE_LLM_MODEL: "m",
      MISTRAL_SAE_PARENT_PIPE: "1",
      MISTRAL_SAE_LOG_LEVEL: "error",
    },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout ?? process.stdin });
  const [line] = (await once(lines, "line")) as [string];
  return { child, address: (JSON.parse(line) as { address: string }).address };
}

test("kill -9 in the middle of a batch loses no explanation, doubles none and pays at most the calls under way again", async () => {
  const concurrency = 4;
  let kills = 0;
  let name = "";
  for (;;) {
    const { child, address } = await startProcess();
    const exited = once(child, "exit");
    const { operation } = await createClient(ExplanationService, address).batchExplain({
      parent: sae,
      config: { maxConcurrency: concurrency },
      requestId: "only",
    });
    expect([operation?.name, ""]).toContain(name === "" ? "" : name);
    name = operation?.name ?? "";
    const operations = createClient(OperationService, address);
    if (kills < 4) {
      for (const seen = llm.calls.length; llm.calls.length < seen + 30; ) await sleep(2);
      child.kill("SIGKILL");
      kills += 1;
      await exited;
      continue;
    }
    const done = (await operations.waitOperation({ name })).operation;
    expect(resultOf(done)).toMatchObject({ nOk: BigInt(live), nFailed: 0n, nSkipped: 0n, nExisting: 0n });
    expect(done?.attempts).toBe(kills + 1);
    child.kill("SIGTERM");
    await exited;
    expect(child.exitCode).toBe(0);
    break;
  }
  expect(index.published.size).toBe(live);
  const questions = llm.calls.filter((_call, i) => (i + 1) % 9 !== 0).length;
  expect(questions).toBeLessThanOrEqual(live + kills * concurrency);
});
