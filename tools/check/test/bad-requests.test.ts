import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SaeService } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { SteeringService } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { Code, createClient, RpcError } from "@mistral-sae/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type EveryService, MODELS, startEveryService } from "../src/acceptance/every-service.ts";
import { rewriteRaw } from "../src/acceptance/raw-safetensors.ts";
import { type CliRun, runCli } from "../src/acceptance/run-cli.ts";
import { copyDemoModel, D_SAE, HOOK, weightsOf, writeSampleSae } from "../src/acceptance/sample-files.ts";
import { ServiceProcess } from "../src/acceptance/service-process.ts";

let folder = "";
let all: EveryService;
let gateway = "";
let again: ServiceProcess | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bad-requests-"));
  all = await startEveryService(join(folder, "data"));
  ({ gateway } = all);
  await writeSampleSae(join(folder, "sae"));
  await writeCorpus("good.jsonl", lines(200));
  await succeed("sae", "register", join(folder, "sae"), "--id", "sample", "--validate", "skip");
  await succeed("index", "corpus", "add", "good", join(folder, "good.jsonl"));
  await succeed("index", "build", "--sae", "sample", "--corpus", "good");
});
afterAll(async () => {
  await again?.stop();
  await all?.stop();
  await rm(folder, { recursive: true, force: true });
});

const ask = async (...args: readonly string[]): Promise<CliRun> => await runCli("--address", gateway, ...args);

async function succeed(...args: readonly string[]): Promise<void> {
  const { code, stderr } = await ask(...args);
  if (code !== 0) throw new Error(`${args.join(" ")} ended with ${code}: ${stderr}`);
}

const lines = (count: number): string => Array.from({ length: count }, (_, i) => JSON.stringify({ text: `Once upon a time there was a dog who had ${i} bones.` })).join("\n");

async function writeCorpus(name: string, bytes: string | Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

/** A refusal of bad input: exit code 2 and an error that says so. */
const refused = (message: RegExp): object => ({ code: 2, error: { message: expect.stringMatching(message), exitCode: 2 } });

async function codeOf(call: Promise<unknown>): Promise<Code | undefined> {
  return await call.then(
    () => undefined,
    (error: unknown) => (error instanceof RpcError ? error.code : undefined),
  );
}

describe("a model that cannot be loaded", () => {
  const cases: readonly [string, (model: string) => Promise<void>, RegExp][] = [
    ["its weights are cut short", async (model) => await rewriteRaw(weightsOf(model, "model"), (file) => void (file.data = file.data.subarray(0, -64))), /model\.safetensors.*data_offsets/s],
    ["its header lies", async (model) => await rewriteRaw(weightsOf(model, "model"), (file) => void (file.header["lm_head.weight"]!.shape[0]! -= 1)), /model\.safetensors.*lm_head\.weight.*bytes/s],
    ["a tensor is missing", async (model) => await rewriteRaw(weightsOf(model, "model"), (file) => Object.assign(file.header, { other: file.header["model.norm.weight"] }) && void delete file.header["model.norm.weight"]), /model\.norm\.weight/],
    ["its architecture is unknown", async (model) => await changeJson(join(model, "config.json"), { architectures: ["GPT2LMHeadModel"], model_type: "gpt2" }), /config\.json.*gpt2/is],
    ["its tokenizer is no JSON", async (model) => await writeFile(join(model, "tokenizer.json"), "{"), /tokenizer\.json/],
  ];
  it.each(cases)("is refused by name when %s", async (_, spoil, message) => {
    const model = await mkdtemp(join(folder, "model-"));
    await copyDemoModel(model);
    await spoil(model);
    expect(await ask("model", "load", model, "--id", "broken")).toMatchObject(refused(message));
    const client = createClient(InferenceService, gateway);
    const { operation } = await client.loadModel({ modelId: "broken", uri: model });
    const ended = await createClient(OperationService, gateway).waitOperation({ name: operation?.name ?? "" });
    expect(ended.operation?.result).toMatchObject({ case: "error", value: { code: Code.InvalidArgument } });
  });

  it("does not become the model of requests that name none", async () => {
    expect(await ask("generate", "Once", "--max-tokens", "2", "--temperature", "0")).toMatchObject({ code: 0 });
  });
});

async function changeJson(path: string, change: object): Promise<void> {
  await writeFile(path, JSON.stringify({ ...(JSON.parse(await readFile(path, "utf8")) as object), ...change }));
}

describe("an SAE that cannot be registered", () => {
  const cases: readonly [string, (sae: string) => Promise<void>, RegExp][] = [
    ["its weights are cut short", async (sae) => await rewriteRaw(weightsOf(sae, "sae"), (file) => void (file.data = file.data.subarray(0, -64))), /sae_weights\.safetensors/],
    ["its architecture is unknown", async (sae) => await changeJson(join(sae, "cfg.json"), { architecture: "crosscoder" }), /cfg\.json.*crosscoder/s],
    ["it fires more features than it has", async (sae) => await changeJson(join(sae, "cfg.json"), { k: D_SAE + 1 }), /^k .*cfg\.json.*65.*1 to 64/s],
    ["its hook is not the model's", async (sae) => await changeJson(join(sae, "cfg.json"), { metadata: { hook_name: "blocks.9.hook_resid_pre" } }), /hook_name.*blocks\.9\.hook_resid_pre.*0 to 3/s],
    ["it explains nothing", async () => await Promise.resolve(), /explains nothing|fits .* better/],
  ];
  it.each(cases)("is refused when %s, and is not in the registry", async (_, spoil, message) => {
    const sae = await mkdtemp(join(folder, "sae-"));
    await cp(join(folder, "sae"), sae, { recursive: true });
    await spoil(sae);
    expect(await ask("sae", "register", sae, "--id", "broken")).toMatchObject(refused(message));
    expect(JSON.parse((await ask("sae", "ls")).stdout)).toMatchObject([{ name: "models/demo/saes/sample" }]);
  });
});

describe("a corpus that cannot be read", () => {
  const good = (n: number) => Buffer.from(`${lines(n)}\n`);
  const cases: readonly [string, string, Uint8Array, RegExp][] = [
    ["a line that is not UTF-8", "latin1.jsonl", Buffer.concat([good(40), Buffer.from('{"text":"caf\xe9"}\n', "latin1")]), /latin1\.jsonl:41.*UTF-8/s],
    ["a line that is not JSON", "words.jsonl", Buffer.concat([good(40), Buffer.from("Once upon a time\n")]), /words\.jsonl:41.*JSON/s],
    ["a line without the text", "field.jsonl", Buffer.concat([good(40), Buffer.from('{"story":"Once"}\n')]), /field\.jsonl, line 41.*text.*missing/s],
    ["a text that is no string", "number.jsonl", Buffer.concat([good(40), Buffer.from('{"text":7}\n')]), /number\.jsonl, line 41.*text.*a number: 7/s],
    ["a zst that is cut short", "cut.jsonl.zst", zstdCompressSync(good(4000)).subarray(0, -20), /cut\.jsonl\.zst.*ends inside a frame/s],
    ["a zst that is none", "none.jsonl.zst", good(4), /none\.jsonl\.zst/],
    ["a parquet that is none", "none.parquet", good(4), /none\.parquet/],
  ];

  it.each(cases)("with %s fails its training run, which leaves no SAE", async (_, name, bytes, message) => {
    const path = await writeCorpus(name, bytes);
    const runId = name.replaceAll(".", "-");
    expect(await train(path, "--run-id", runId)).toMatchObject(refused(message));
    const { trainingRun } = await createClient(TrainingService, gateway).getTrainingRun({ name: `trainingRuns/${runId}` });
    expect(trainingRun).toMatchObject({ saeUri: "", weightsSha256: "" });
    expect(trainingRun?.stateDetail).toMatch(message);
    expect(await filesOf(all.dataOf("training"))).toEqual([]);
  });

  it.each(cases)("with %s fails its index, and none is listed", async (_, name, bytes, message) => {
    const path = await writeCorpus(name, bytes);
    const id = name.replaceAll(".", "-");
    const added = await ask("index", "corpus", "add", id, path);
    expect(added.code === 0 ? await ask("index", "build", "--sae", "sample", "--corpus", id) : added).toMatchObject(refused(message));
    const { indexes } = await createClient(FeatureIndexService, gateway).listIndexes({});
    expect(indexes.map(({ corpus }) => corpus)).toEqual(["corpora/good"]);
  });

  it.each([
    ["nothing at its path", "nowhere.jsonl", /nowhere\.jsonl/],
    ["a kind that is not read", "text.doc", /text\.doc.*\.jsonl/s],
  ])("with %s is refused before any work", async (_, name, message) => {
    if (name === "text.doc") await writeCorpus(name, "words");
    const ended = await train(join(folder, name));
    expect(ended).toMatchObject({ error: { message: expect.stringMatching(message) }, code: expect.toBeOneOf([2, 3]) });
  });
});

const train = async (corpus: string, ...more: readonly string[]): Promise<CliRun> =>
  await ask("train", "--corpus", corpus, "--hook-name", HOOK, "--d-sae", "64", "--k", "4", "--batch-tokens", "128", "--steps", "4", ...more);

/** SAE folders, activation shards and files half written. */
async function filesOf(data: string): Promise<readonly string[]> {
  const files = await readdir(data, { recursive: true });
  return files.filter((path) => /\.tmp|safetensors|cfg\.json|\.rows/.test(path));
}

describe("a request that asks for what is not there", () => {
  it.each<[string, readonly string[], RegExp]>([
    ["a prompt longer than the context", ["generate", "story ".repeat(600)], /prompt\.text: got \d+ tokens.*wanted at most 512/],
    ["a prompt far longer than the context", ["steer", "text", "story ".repeat(2000), "--feature", "3"], /prompt\.text: got 12000 characters.*512 tokens/],
    ["more tokens than the context holds", ["generate", "Once", "--max-tokens", "600"], /max_tokens.*600.*wanted at most 5\d\d/],
    ["a feature beyond the SAE, steered", ["steer", "text", "Once", "--feature", "64"], /feature_index.*64/],
    ["a feature beyond the SAE, shown", ["index", "feature", "64"], /64/],
    ["an SAE that fires more than it has", ["train", "--corpus", "CORPUS", "--hook-name", HOOK, "--d-sae", "64", "--k", "65", "--steps", "4", "--batch-tokens", "128"], /config\.k.*65.*64/],
    ["a hook that the model has not", ["train", "--corpus", "CORPUS", "--hook-name", "blocks.4.hook_resid_pre", "--d-sae", "64", "--k", "4", "--steps", "4", "--batch-tokens", "128"], /hook_name.*blocks\.4\.hook_resid_pre/],
    ["a context longer than the model's", ["train", "--corpus", "CORPUS", "--hook-name", HOOK, "--context-size", "513", "--d-sae", "64", "--k", "4", "--steps", "4", "--batch-tokens", "128"], /context_size.*513.*512/],
    ["SQL that writes", ["index", "sql", "DROP TABLE activations"], /DROP|read|SELECT/i],
    ["SQL that is none", ["index", "sql", "SELEC 1"], /sql: "SELEC" begins no statement that is allowed/],
  ])("%s is refused", async (_, args, message) => {
    const ended = await ask(...args.map((arg) => (arg === "CORPUS" ? join(folder, "good.jsonl") : arg)));
    expect(ended).toMatchObject({ error: { message: expect.stringMatching(message), reason: expect.stringMatching(/./) }, code: expect.toBeOneOf([2, 3]) });
  });

  it("answers over gRPC with the codes that clients know", async () => {
    const sae = "models/demo/saes/sample";
    const inference = createClient(InferenceService, gateway);
    const index = createClient(FeatureIndexService, gateway);
    const steering = createClient(SteeringService, gateway);
    const training = createClient(TrainingService, gateway);
    const config = { model: "models/demo", corpus: { uri: join(folder, "good.jsonl") }, hookName: HOOK, dSae: 64, k: 4, trainingTokens: 4096n };
    const long = { prompt: { case: "tokens" as const, value: { tokenIds: Array.from({ length: 513 }, () => 5) } } };
    expect({
      unknownModel: await codeOf(inference.getModel({ name: "models/none" })),
      badName: await codeOf(inference.getModel({ name: "none" })),
      longPrompt: await codeOf(first(inference.generate({ prompt: long }))),
      featureBeyond: await codeOf(index.getFeature({ name: `${sae}/features/${D_SAE}` })),
      unknownSae: await codeOf(index.getFeature({ name: "models/demo/saes/none/features/0" })),
      kBeyond: await codeOf(training.createTrainingRun({ trainingRunId: "k", config: { ...config, k: 65 } })),
      hookUnknown: await codeOf(training.createTrainingRun({ trainingRunId: "h", config: { ...config, hookName: "blocks.4.hook_resid_pre" } })),
      unknownRun: await codeOf(training.getTrainingRun({ name: "trainingRuns/none" })),
      unknownPreset: await codeOf(steering.getSteeringPreset({ name: "steeringPresets/none" })),
    }).toEqual({
      unknownModel: Code.NotFound,
      badName: Code.InvalidArgument,
      longPrompt: Code.InvalidArgument,
      featureBeyond: expect.toBeOneOf([Code.NotFound, Code.OutOfRange, Code.InvalidArgument]),
      unknownSae: Code.NotFound,
      kBeyond: Code.InvalidArgument,
      hookUnknown: Code.InvalidArgument,
      unknownRun: Code.NotFound,
      unknownPreset: Code.NotFound,
    });
  });
});

async function first<T>(stream: AsyncIterable<T>): Promise<T | undefined> {
  for await (const message of stream) return message;
  return undefined;
}

describe("after all of it", () => {
  it("every process is the one that was started, and serves", async () => {
    for (const { name, alive } of all.services) expect({ name, alive }).toEqual({ name, alive: true });
    expect(await ask("generate", "Once upon a time", "--max-tokens", "4", "--temperature", "0")).toMatchObject({ code: 0 });
    expect(await ask("index", "feature", "3")).toMatchObject({ code: 0 });
    expect(await ask("steer", "text", "Once", "--feature", "3", "--max-tokens", "4", "--seed", "1")).toMatchObject({ code: 0 });
  });

  it("a good training run over the same services succeeds", async () => {
    const out = await train(join(folder, "good.jsonl"), "--run-id", "good");
    expect(out.stderr).toBe("");
    expect(out.code).toBe(0);
  });

  it("the inference service starts again on what is left, with the SAE and without the broken models", async () => {
    await all.services.find(({ name }) => name === "inference")?.stop();
    again = await ServiceProcess.start("inference", all.dataOf("inference"), MODELS);
    const { models } = await createClient(InferenceService, again.address).listModels({});
    expect(models.map(({ name }) => name)).toEqual(["models/demo"]);
    const { saes } = await createClient(SaeService, again.address).listSaes({ parent: "models/demo" });
    expect(saes.map(({ name }) => name)).toContain("models/demo/saes/sample");
  });
});
