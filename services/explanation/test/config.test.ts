import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { explanationDefaults, readConfig } from "../src/config.ts";

test("an empty environment gives the defaults and no endpoint", () => {
  expect(readConfig({})).toEqual(explanationDefaults);
});

test("the endpoint, its key and its prices come from the environment, further ones from a file", () => {
  const folder = mkdtempSync(join(tmpdir(), "explanation-config-"));
  const file = join(folder, "endpoints.json");
  writeFileSync(file, JSON.stringify([{ name: "second", base_url: "https://host/v1", model: "m2", api_key_env: "SECOND_KEY" }]));
  const { endpoints } = readConfig({
    MISTRAL_SAE_LLM_BASE_URL: "http://127.0.0.1:1/v1",
    MISTRAL_SAE_LLM_MODEL: "m1",
    MISTRAL_SAE_LLM_API_KEY: "k1",
    MISTRAL_SAE_LLM_PRICES: '{"m1": {"prompt": 0.15, "completion": 0.6}}',
    MISTRAL_SAE_LLM_ENDPOINTS: file,
    SECOND_KEY: "k2",
  });
  expect(endpoints).toMatchObject([
    { name: "default", model: "m1", apiKey: "k1", prices: { m1: { prompt: 0.15, completion: 0.6 } } },
    { name: "second", model: "m2", apiKey: "k2", prices: {} },
  ]);
  rmSync(folder, { recursive: true });
});

test("what cannot be used is refused with the variable's name", () => {
  expect(() => readConfig({ MISTRAL_SAE_LLM_BASE_URL: "http://x/v1" })).toThrow(/MISTRAL_SAE_LLM_MODEL/);
  expect(() => readConfig({ MISTRAL_SAE_LLM_BASE_URL: "file:///etc/passwd", MISTRAL_SAE_LLM_MODEL: "m" })).toThrow(/MISTRAL_SAE_LLM_BASE_URL.*http/);
  const endpoint = { MISTRAL_SAE_LLM_BASE_URL: "http://x/v1", MISTRAL_SAE_LLM_MODEL: "m" };
  expect(() => readConfig({ ...endpoint, MISTRAL_SAE_LLM_PRICES: "cheap" })).toThrow(/MISTRAL_SAE_LLM_PRICES.*JSON/);
  expect(() => readConfig({ ...endpoint, MISTRAL_SAE_LLM_PRICES: '{"m": {"prompt": -1, "completion": 0}}' })).toThrow(/at least 0/);
  expect(() => readConfig({ ...endpoint, MISTRAL_SAE_LLM_TIMEOUT_MS: "0" })).toThrow(/MISTRAL_SAE_LLM_TIMEOUT_MS/);
});
