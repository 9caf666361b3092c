import { describe, expect, it } from "vitest";
import { readConfig, trainingDefaults } from "../src/index.ts";

describe("readConfig", () => {
  it("has a default for everything", () => {
    expect(readConfig({})).toEqual(trainingDefaults);
  });

  it("reads the environment", () => {
    const config = readConfig({ MISTRAL_SAE_LISTEN: "0.0.0.0:1", MISTRAL_SAE_INFERENCE: "peer:2", MISTRAL_SAE_THREADS: "3", MISTRAL_SAE_TRAINING_SHARD_MIB: "1" });
    expect(config).toMatchObject({ listen: "0.0.0.0:1", inference: "peer:2", threads: 3, shardMib: 1 });
  });

  it.each(["0", "two", "1.5"])("refuses %s threads", (text) => {
    expect(() => readConfig({ MISTRAL_SAE_THREADS: text })).toThrow(/MISTRAL_SAE_THREADS/);
  });
});
