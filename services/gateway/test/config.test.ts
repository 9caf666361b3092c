import { expect, test } from "vitest";
import { configDefaults, readConfig } from "../src/config.ts";

test("an empty environment gives the defaults", () => {
  expect(readConfig({})).toEqual(configDefaults);
});

test("addresses, origins and limits come from the environment", () => {
  const config = readConfig({
    MISTRAL_SAE_LISTEN: "0.0.0.0:1",
    MISTRAL_SAE_FEATURE_INDEX: "feature-index:50053",
    MISTRAL_SAE_GATEWAY_ORIGINS: "https://a.example, https://b.example",
    MISTRAL_SAE_GATEWAY_MAX_REQUEST_BYTES: "2048",
  });
  expect(config.listen).toBe("0.0.0.0:1");
  expect(config.backends["feature-index"]).toBe("feature-index:50053");
  expect(config.allowedOrigins).toEqual(["https://a.example", "https://b.example"]);
  expect(config.maxRequestBytes).toBe(2048);
});

test("a variable that makes no sense is named with what was wanted", () => {
  expect(() => readConfig({ MISTRAL_SAE_TRAINING: "here" })).toThrow('MISTRAL_SAE_TRAINING: got "here", wanted host:port');
  expect(() => readConfig({ MISTRAL_SAE_GATEWAY_MAX_REQUEST_BYTES: "much" })).toThrow("MISTRAL_SAE_GATEWAY_MAX_REQUEST_BYTES");
});
