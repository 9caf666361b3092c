import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { Code, createClient, implement, startServer, type RunningServer } from "@mistral-sae/rpc";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { BackendStates } from "../src/backend-states.ts";
import { gatewayServices } from "../src/gateway.ts";

const inference = implement(InferenceService, {
  getModel: async ({ name }) => ({ model: { name } }),
  async *forward(_request, { signal }) {
    yield { hookName: "first" };
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  },
});
const away = "127.0.0.1:9";
let backend: RunningServer;
let gateway: RunningServer;
let addresses: Record<"inference" | "training" | "feature-index" | "explanation" | "steering", string>;

beforeEach(async () => {
  backend = await startServer({ listen: "127.0.0.1:0", services: [inference] });
  addresses = { inference: backend.address, training: away, "feature-index": away, explanation: away, steering: away };
  gateway = await startServer({ listen: "127.0.0.1:0", services: gatewayServices(addresses) });
});
afterEach(async () => {
  await gateway.close(0);
  await backend.close(0);
});

async function restart(): Promise<void> {
  await backend.close(0);
  backend = await startServer({ listen: addresses.inference, services: [inference] });
}

test("the first call after a backend was started again succeeds", async () => {
  const client = createClient(InferenceService, gateway.address);
  for (let round = 0; round < 5; round++) {
    expect((await client.getModel({ name: "models/a" })).model?.name).toBe("models/a");
    await restart();
  }
  await sleep(50);
  await restart();
  expect((await client.getModel({ name: "models/b" })).model?.name).toBe("models/b");
});

test("a stream whose backend ends is an error, never a short result", async () => {
  const seen: string[] = [];
  await expect(async () => {
    for await (const { hookName } of createClient(InferenceService, gateway.address).forward({})) {
      seen.push(hookName);
      await backend.close(0);
    }
  }).rejects.toMatchObject({ name: "RpcError" });
  expect(seen).toEqual(["first"]);
});

test.each(["SIGKILL", "SIGTERM"] as const)("a backend that ends by %s in the middle of calls is told as away, by its name", async (signal) => {
  const child = spawn(process.execPath, [fileURLToPath(new URL("support/endless-backend.ts", import.meta.url))], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const { address } = JSON.parse(line.toString()) as { readonly address: string };
  const front = await startServer({ listen: "127.0.0.1:0", services: gatewayServices({ ...addresses, inference: address }) });
  const client = createClient(InferenceService, front.address);
  const isAway = { code: Code.Unavailable, reason: "BACKEND_DOWN", message: expect.stringContaining(`inference service at ${address}`) as unknown };
  const unary = client.getModel({ name: "models/a" }).catch((error: unknown) => error);
  await expect(async () => {
    for await (const _ of client.forward({})) child.kill(signal);
  }).rejects.toMatchObject(isAway);
  expect(await unary).toMatchObject(isAway);
  child.kill("SIGKILL");
  await front.close(0);
});

test("states follow the backends", async () => {
  const changes: string[] = [];
  const states = new BackendStates(addresses, { everyMs: 20, timeoutMs: 2000 });
  await states.start((name, serving) => changes.push(`${name} ${String(serving)}`));
  expect(states.reports["inference"]).toEqual({ address: addresses.inference, state: "serving" });
  expect(states.reports["steering"]).toMatchObject({ state: "unreachable" });
  expect(Object.keys(states.reports)).toEqual(["inference", "training", "feature-index", "explanation", "steering"]);
  backend.setServing("", false);
  await vi.waitFor(() => expect(states.reports["inference"]?.state).toBe("not_serving"));
  await backend.close(0);
  await vi.waitFor(() => expect(states.reports["inference"]?.state).toBe("unreachable"), { timeout: 5000 });
  backend = await startServer({ listen: addresses.inference, services: [inference] });
  await vi.waitFor(() => expect(states.reports["inference"]?.state).toBe("serving"), { timeout: 5000 });
  states.stop();
  expect(changes.filter((change) => change.startsWith("inference"))).toEqual(["inference true", "inference false", "inference false", "inference true"]);
});
