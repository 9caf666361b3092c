import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "..", "..", "..");
const grpcurl = spawnSync("grpcurl", ["-version"], { stdio: "ignore" }).status === 0;
if (!grpcurl) console.log("skipped: grpcurl is not installed, reflection is proved only by our own client");

const children: ChildProcess[] = [];
const addresses: Record<string, string> = {};
let data = "";

/** Starts a service as an operator would and returns the address that it prints. */
async function start(name: string, env: Readonly<Record<string, string>> = {}): Promise<string> {
  const child = spawn(process.execPath, [join(root, "services", name, "src", "main.ts")], {
    env: { ...process.env, MISTRAL_SAE_LISTEN: "127.0.0.1:0", MISTRAL_SAE_DATA: join(data, name), MISTRAL_SAE_PARENT_PIPE: "1", ...env },
    stdio: ["pipe", "pipe", "inherit"],
  });
  children.push(child);
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith('{"ready"')) return (JSON.parse(line) as { readonly address: string }).address;
  }
  throw new Error(`${name} ended before it was ready`);
}

const ask = (...args: readonly string[]) => spawnSync("grpcurl", ["-plaintext", ...args], { encoding: "utf8" });

describe.skipIf(!grpcurl)("grpcurl without local protos", () => {
  beforeAll(async () => {
    data = await mkdtemp(join(tmpdir(), "grpcurl-"));
    addresses["inference"] = await start("inference", { MISTRAL_SAE_MODELS: `demo=${join(root, "libs", "demo-model", "model")}` });
    const peers = { MISTRAL_SAE_INFERENCE: addresses["inference"] };
    addresses["feature-index"] = await start("feature-index", peers);
    const more = { ...peers, MISTRAL_SAE_FEATURE_INDEX: addresses["feature-index"] };
    for (const name of ["training", "explanation", "steering"]) addresses[name] = await start(name, more);
    addresses["gateway"] = await start("gateway", {
      ...more,
      MISTRAL_SAE_GATEWAY_HTTP_LISTEN: "127.0.0.1:0",
      MISTRAL_SAE_TRAINING: addresses["training"] ?? "",
      MISTRAL_SAE_EXPLANATION: addresses["explanation"] ?? "",
      MISTRAL_SAE_STEERING: addresses["steering"] ?? "",
    });
  });
  afterAll(async () => {
    for (const child of children.toReversed()) {
      const ended = once(child, "exit");
      child.stdin?.end();
      await ended;
    }
    await rm(data, { recursive: true, force: true });
  });

  it.each([
    ["inference", "mistral_sae.inference.v1.InferenceService"],
    ["inference", "mistral_sae.sae.v1.SaeService"],
    ["inference", "inference.GRPCInferenceService"],
    ["gateway", "inference.GRPCInferenceService"],
    ["training", "mistral_sae.training.v1.TrainingService"],
    ["feature-index", "mistral_sae.feature_index.v1.FeatureIndexService"],
    ["explanation", "mistral_sae.explanation.v1.ExplanationService"],
    ["steering", "mistral_sae.steering.v1.SteeringService"],
    ["gateway", "mistral_sae.steering.v1.SteeringService"],
    ["gateway", "mistral_sae.operations.v1.OperationService"],
  ])("lists, describes and finds healthy: %s, %s", (name, service) => {
    const address = addresses[name] ?? "";
    const list = ask(address, "list");
    expect(list.stdout + list.stderr).toContain(service);
    expect(list.stdout).toContain("grpc.health.v1.Health");
    expect(ask(address, "describe", service).stdout).toContain(`service ${service.split(".").at(-1)} {`);
    expect(ask("-d", JSON.stringify({ service }), address, "grpc.health.v1.Health/Check").stdout).toContain("SERVING");
  });

  it.each(["inference", "gateway"])("calls a unary method through %s", (name) => {
    const { stdout, stderr } = ask("-d", '{"name":"models/demo"}', addresses[name] ?? "", "mistral_sae.inference.v1.InferenceService/GetModel");
    expect(stdout + stderr).toContain('"architecture": "MistralForCausalLM"');
  });

  it.each(["inference", "gateway"])("streams a generation through %s", (name) => {
    const request = { prompt: { text: "Once upon a time" }, sampling: { temperature: 0, maxTokens: 4 } };
    const { stdout, stderr } = ask("-d", JSON.stringify(request), addresses[name] ?? "", "mistral_sae.inference.v1.InferenceService/Generate");
    expect(stdout.match(/"step": \{/g), stderr).toHaveLength(4);
  });

  it.each(["inference", "gateway"])("speaks the Open Inference Protocol through %s", (name) => {
    const inputs = [{ name: "input_ids", datatype: "INT64", shape: [1, 3], contents: { int64_contents: [1, 465, 456] } }];
    const request = { model_name: "demo", id: "g1", inputs, outputs: [{ name: "generated_text" }], parameters: { max_tokens: { int64_param: 6 }, temperature: { double_param: 0 } } };
    const { stdout, stderr } = ask("-d", JSON.stringify(request), addresses[name] ?? "", "inference.GRPCInferenceService/ModelInfer");
    const answer = JSON.parse(stdout === "" ? stderr : stdout) as { readonly id: string; readonly outputs: readonly { readonly name: string; readonly contents: { readonly bytesContents: readonly string[] } }[] };
    expect(answer).toMatchObject({ id: "g1", outputs: [{ name: "generated_text", datatype: "BYTES", shape: ["1", "1"] }] });
    expect(Buffer.from(answer.outputs[0]?.contents.bytesContents[0] ?? "", "base64").toString("utf8")).toMatch(/^\s\w/);
    expect(ask(addresses[name] ?? "", "inference.GRPCInferenceService/ServerReady").stdout).toContain('"ready": true');
  });

  it("shows the details of a refusal", () => {
    const { stderr } = ask("-d", '{"name":"nonsense"}', addresses["gateway"] ?? "", "mistral_sae.inference.v1.InferenceService/GetModel");
    expect(stderr).toContain("Code: InvalidArgument");
    expect(stderr).toContain("google.rpc.BadRequest");
  });
});
