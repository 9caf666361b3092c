import { expect, test } from "vitest";
import { createLogger, logLevel } from "../src/index.ts";

function capture(level: "debug" | "info" | "warn" | "error" | "silent") {
  const lines: string[] = [];
  return { lines, logger: createLogger("unit", { level, write: (line) => lines.push(line) }) };
}

test("a line is one JSON object with time, level, logger, message and fields", () => {
  const { lines, logger } = capture("debug");
  logger.debug("loaded", { tokens: 12n, model: "demo" });
  expect(lines[0]).toMatch(/\n$/);
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({ level: "debug", logger: "unit", message: "loaded", tokens: "12", model: "demo" });
});

test("lines below the level are left out", () => {
  const { lines, logger } = capture("warn");
  logger.info("no");
  logger.error("yes", { error: new Error("broken") });
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0] ?? "").error.message).toBe("broken");
  expect(capture("silent").lines).toEqual([]);
});

test("secrets are replaced", () => {
  const { lines, logger } = capture("info");
  logger.info("call", { api_key: "sk-canary", authorization: "Bearer sk-canary", access_token: "sk-canary", n_tokens: 5 });
  expect(lines.join("")).not.toContain("sk-canary");
  expect(JSON.parse(lines[0] ?? "").n_tokens).toBe(5);
});

test("an unknown level is refused with the names that exist", () => {
  expect(() => logLevel({ MISTRAL_SAE_LOG_LEVEL: "loud" })).toThrow(/"loud".*debug, info, warn, error, silent/);
  expect(logLevel({})).toBe("info");
});
