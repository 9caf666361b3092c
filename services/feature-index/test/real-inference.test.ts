import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { FeatureView } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SaeService, ValidationPolicy } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { readCorpus, windowsOf } from "@mistral-sae/corpus";
import { corpusDir, demoModelDir } from "@mistral-sae/demo-model";
import { type Client, createClient } from "@mistral-sae/rpc";
import { writeSae } from "@mistral-sae/sae";
import { rowBounds, unpackSparse } from "@mistral-sae/tensor";
import { noise } from "./fixtures/toy-inference.ts";
import { finished, removeFolder, startService, temporaryFolder, type TestService } from "./fixtures/with-service.ts";

const D_IN = 192;
const D_SAE = 256;
const K = 8;
const SAE = "models/demo/saes/noise";
const DOCUMENTS = 40;
const CONTEXT = 64;
/** Ids of the demo model's tokenizer below this are special. */
const FIRST_TEXT_TOKEN = 5;
let folder: string;
let child: ChildProcess;
let inference: Client<typeof InferenceService>;
let saes: Client<typeof SaeService>;
let service: TestService;

/** A dictionary of random directions: it finds nothing, but what it finds can be counted. */
async function writeNoiseSae(path: string): Promise<void> {
  const rows = Float32Array.from({ length: D_SAE * D_IN }, (_, i) => 2 * noise(i, 13) - 1);
  for (let row = 0; row < D_SAE; row++) {
    const length = Math.hypot(...rows.subarray(row * D_IN, (row + 1) * D_IN));
    for (let i = 0; i < D_IN; i++) rows[row * D_IN + i]! /= length;
  }
  const config = {
    architecture: "topk",
    dIn: D_IN,
    dSae: D_SAE,
    k: K,
    dtype: "float32",
    applyBDecToInput: true,
    normalizeActivations: "none",
    reshapeActivations: "none",
    rescaleActsByDecoderNorm: false,
    metadata: { hook_name: "blocks.2.hook_resid_pre", context_size: 128 },
  } as const;
  await writeSae(path, { config, wEnc: rows.slice(), bEnc: new Float32Array(D_SAE), wDec: rows, bDec: new Float32Array(D_IN) });
}

beforeAll(async () => {
  folder = temporaryFolder();
  const main = fileURLToPath(new URL("../../inference/src/main.ts", import.meta.url));
  const env = { ...process.env, MISTRAL_SAE_LISTEN: "127.0.0.1:0", MISTRAL_SAE_DATA: join(folder, "inference"), MISTRAL_SAE_MODELS: `demo=${demoModelDir}`, MISTRAL_SAE_PARENT_PIPE: "1" };
  child = spawn(process.execPath, [main], { stdio: ["pipe", "pipe", "inherit"], env });
  const [line] = (await once(child.stdout as NonNullable<typeof child.stdout>, "data")) as [Buffer];
  const { address } = JSON.parse(line.toString()) as { address: string };
  inference = createClient(InferenceService, address);
  saes = createClient(SaeService, address);
  await writeNoiseSae(join(folder, "sae"));
  const { operation } = await saes.createSae({ parent: "models/demo", saeId: "noise", uri: join(folder, "sae"), validate: ValidationPolicy.SKIP });
  await createClient(OperationService, address).waitOperation({ name: operation?.name ?? "" });
  service = await startService(join(folder, "data"), address);
  await service.index.createCorpus({ corpusId: "stories", source: { uri: corpusDir, maxDocuments: BigInt(DOCUMENTS) }, contextSize: CONTEXT });
  await finished(service, (await service.index.indexCorpus({ sae: SAE, corpus: "corpora/stories" })).operation);
});
afterAll(async () => {
  await service.stop();
  child.kill("SIGTERM");
  removeFolder(folder);
});

/** Every firing that the encoder gives when it is asked document by document, special tokens left out. */
async function firingsByHand(): Promise<{ byFeature: Map<number, number[]>; nTokens: number }> {
  const byFeature = new Map<number, number[]>();
  let nTokens = 0;
  for await (const { text } of readCorpus({ uri: corpusDir, maxDocuments: DOCUMENTS })) {
    const { sequences } = await inference.tokenize({ prompts: [{ prompt: { case: "text", value: text }, prependBos: false }] });
    const windows = [...windowsOf(Uint32Array.from(sequences[0]?.tokenIds ?? []), CONTEXT)].map((window) => ({ tokenIds: [1, ...window] }));
    const request = async function* () {
      yield { sae: SAE, input: { case: "sequences", value: { sequences: windows } } as const, activationDtype: DataType.BF16 };
    };
    for await (const { code } of saes.encode(request())) {
      if (code === undefined) throw new Error("no code came back");
      const rows = unpackSparse(code);
      let row = 0;
      for (const { tokenIds } of windows) {
        for (let token = 0; token < tokenIds.length; token++, row++) {
          // BOS, and what the text itself spells: some stories end their instructions with [/INST].
          if ((tokenIds[token] as number) < FIRST_TEXT_TOKEN) continue;
          nTokens += 1;
          const [start, end] = rowBounds(rows, row);
          for (let pair = start; pair < end; pair++) {
            const list = byFeature.get(rows.indices[pair] as number) ?? [];
            byFeature.set(rows.indices[pair] as number, list);
            list.push(rows.values[pair] as number);
          }
        }
      }
    }
  }
  return { byFeature, nTokens };
}

describe("with the real inference service", () => {
  it("indexes what the model and the SAE give", async () => {
    const { byFeature, nTokens } = await firingsByHand();
    const { features } = await service.index.listFeatures({ parent: SAE, pageSize: 1000 });
    expect(features).toHaveLength(D_SAE);
    for (const { featureIndex, nFirings, maxActivation, meanActivation, fracNonzero } of features) {
      const values = byFeature.get(featureIndex) ?? [];
      // Batches of other shapes may round the last bit otherwise, and a near tie at the k-th place may fall the other way.
      expect(Math.abs(Number(nFirings) - values.length), `feature ${featureIndex}`).toBeLessThanOrEqual(Math.max(2, 0.01 * values.length));
      if (values.length < 20) continue;
      expect(maxActivation / Math.max(...values)).toBeCloseTo(1, 1);
      expect(meanActivation / (values.reduce((sum, value) => sum + value, 0) / values.length)).toBeCloseTo(1, 1);
      expect(fracNonzero).toBeCloseTo(values.length / nTokens, 2);
    }
  });

  it("shows examples in the text's own words", async () => {
    const texts: string[] = [];
    for await (const { text } of readCorpus({ uri: corpusDir, maxDocuments: DOCUMENTS })) texts.push(text);
    const { features } = await service.index.listFeatures({ parent: SAE, orderBy: "n_firings desc", pageSize: 3 });
    for (const { name } of features) {
      const { feature } = await service.index.getFeature({ name, view: FeatureView.FULL });
      expect(feature?.examples.length).toBeGreaterThan(20);
      for (const { docId, tokens } of feature?.examples ?? []) {
        expect(texts[Number(docId)]).toContain(tokens?.strTokens.join(""));
      }
      expect(feature?.posLogits).toHaveLength(20);
      expect(feature?.nearest).toHaveLength(10);
    }
  });

  it("reads a text as the model does", async () => {
    const { tokens, matches } = await service.index.searchByText({ saes: [SAE], prompt: { prompt: { case: "text", value: "Once upon a time" } }, numResults: 5 });
    expect(tokens?.strTokens.slice(1).join("")).toBe("Once upon a time");
    expect(matches).toHaveLength(5);
    await expect(service.index.searchByText({ saes: ["models/demo/saes/none"], prompt: { prompt: { case: "text", value: "x" } } })).rejects.toThrow("models/demo/saes/none");
  });
});
