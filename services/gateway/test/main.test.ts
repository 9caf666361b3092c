import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Health, HealthCheckResponse_ServingStatus as Status } from "@mistral-sae/contracts/grpc/health/v1/health";
import { createClient } from "@mistral-sae/rpc";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { choosePort } from "./support/free-port.ts";
import { startFakeBackends, type FakeBackends } from "./support/fake-backends.ts";

let fakes: FakeBackends;
let child: ChildProcess;
let address: string;
let http: string;

beforeAll(async () => {
  fakes = await startFakeBackends();
  http = `127.0.0.1:${await choosePort()}`;
  child = spawn(process.execPath, [fileURLToPath(new URL("../src/main.ts", import.meta.url))], {
    stdio: ["pipe", "pipe", "ignore"],
    env: {
      ...process.env,
      MISTRAL_SAE_PARENT_PIPE: "1",
      MISTRAL_SAE_LISTEN: "127.0.0.1:0",
      MISTRAL_SAE_GATEWAY_HTTP_LISTEN: http,
      MISTRAL_SAE_INFERENCE: fakes.addresses.inference,
      MISTRAL_SAE_TRAINING: fakes.addresses.training,
      MISTRAL_SAE_FEATURE_INDEX: fakes.addresses["feature-index"],
      MISTRAL_SAE_EXPLANATION: fakes.addresses.explanation,
      MISTRAL_SAE_STEERING: fakes.addresses.steering,
    },
  });
  const [line] = (await once(createInterface({ input: child.stdout! }), "line")) as [string];
  address = (JSON.parse(line) as { readonly address: string }).address;
});
afterAll(async () => {
  child.kill("SIGKILL");
  await fakes.close();
});

test("the process serves each backend's health under the service's own name", async () => {
  const health = createClient(Health, address);
  const of = async (service: string) => (await health.check({ service })).status;
  expect(await of("")).toBe(Status.SERVING);
  await vi.waitFor(async () => expect(await of("mistral_sae.steering.v1.SteeringService")).toBe(Status.NOT_SERVING), { timeout: 5000 });
  expect(await of("mistral_sae.training.v1.TrainingService")).toBe(Status.SERVING);
});

test("healthz names every backend, and the page is at the root", async () => {
  const report: unknown = await (await fetch(`http://${http}/healthz`)).json();
  expect(report).toMatchObject({ status: "degraded", grpc: address, services: { inference: { state: "serving" }, steering: { state: "unreachable" } } });
  expect(await (await fetch(`http://${http}/`)).text()).toContain("<title>mistral-sae</title>");
});

test("the process ends with its standard input", async () => {
  const ended = once(child, "exit");
  child.stdin?.end();
  expect(await ended).toEqual([0, null]);
});
