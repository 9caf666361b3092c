import { describe, expect, it } from "vitest";
import { inferenceDefaults, modelIdOf, readConfig } from "../src/index.ts";

describe("the configuration", () => {
  it("has defaults for everything", () => {
    expect(readConfig({})).toEqual(inferenceDefaults);
  });

  it("reads models as id=folder or folder, separated by commas or lines", () => {
    const { models } = readConfig({ MISTRAL_SAE_MODELS: "demo=/models/a,\n/models/Mistral_7B v0.1 " });
    expect(models).toEqual([
      { id: "demo", folder: "/models/a" },
      { id: "mistral-7b-v0-1", folder: "/models/Mistral_7B v0.1" },
    ]);
    expect(modelIdOf("/")).toBe("model");
  });

  it("reads the precision behind a model's folder, and leaves other folders with an @ alone", () => {
    const { models, quantisedDir } = readConfig({ MISTRAL_SAE_MODELS: "demo=/models/a@int4,/models/b@int8,/models/c@home", MISTRAL_SAE_CACHE: "/cache" });
    expect(models).toEqual([{ id: "demo", folder: "/models/a", precision: "int4" }, { id: "b", folder: "/models/b", precision: "int8" }, { id: "c-home", folder: "/models/c@home" }]);
    expect(quantisedDir).toBe("/cache");
  });

  it("reads the execution provider and the tokens of one run", () => {
    expect(readConfig({ MISTRAL_SAE_INFERENCE_PROVIDER: "cuda", MISTRAL_SAE_INFERENCE_DECODE_STEPS: "16" })).toMatchObject({ provider: "cuda", decodeSteps: 16 });
  });

  it("turns the prefix cache off, and bounds what waits and how often an engine is started again", () => {
    const config = readConfig({ MISTRAL_SAE_INFERENCE_PREFIX_CACHE: "off", MISTRAL_SAE_INFERENCE_MAX_QUEUED_TOKENS: "5000", MISTRAL_SAE_INFERENCE_MAX_RESTARTS: "2" });
    expect(config).toMatchObject({ prefixCache: false, maxQueuedTokens: 5000, maxRestarts: 2 });
  });

  it("names the variable that is wrong", () => {
    expect(() => readConfig({ MISTRAL_SAE_INFERENCE_PROVIDER: "tpu" })).toThrow(/MISTRAL_SAE_INFERENCE_PROVIDER.*got tpu, wanted cpu, cuda, webgpu/);
    expect(() => readConfig({ MISTRAL_SAE_THREADS: "two" })).toThrow(/MISTRAL_SAE_THREADS.*got two, wanted a whole number/);
    expect(() => readConfig({ MISTRAL_SAE_INFERENCE_PREFIX_CACHE: "no" })).toThrow(/MISTRAL_SAE_INFERENCE_PREFIX_CACHE.*got no, wanted on or off/);
    expect(() => readConfig({ MISTRAL_SAE_MODELS: "Demo!=/a" })).toThrow(/MISTRAL_SAE_MODELS.*got Demo!, wanted id=folder/);
  });
});
