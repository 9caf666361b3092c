import { create } from "@bufbuild/protobuf";
import { type PositionSelector, PositionSelectorSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { ChatRole, RoleSpanSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import { describe, expect, test } from "vitest";
import { readConfig, steeringDefaults } from "../src/index.ts";
import { promptPositions } from "../src/resolve/prompt-positions.ts";

describe("prompt positions", () => {
  // <s> and six tokens, the second of which is special too.
  const prompt = {
    tokenIds: [1, 10, 3, 12, 13, 12, 15],
    isSpecial: Uint8Array.of(0b0000101),
    spans: [create(RoleSpanSchema, { role: ChatRole.USER, start: 3, end: 5 })],
  };
  const positions = (selector?: Parameters<typeof create<typeof PositionSelectorSchema>>[1]): number[] =>
    promptPositions(selector === undefined ? undefined : (create(PositionSelectorSchema, selector) as PositionSelector), prompt);

  test("are all but the special ones by default", () => {
    expect(positions()).toEqual([1, 3, 4, 5, 6]);
    expect(positions({ skipSpecialTokens: false })).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  test("are the union of what is included, without what is excluded", () => {
    expect(positions({ include: { promptPositions: [-1, 1] } })).toEqual([1, 6]);
    expect(positions({ include: { promptWindow: { start: -3 } } })).toEqual([4, 5, 6]);
    expect(positions({ include: { promptWindow: { start: 1, end: -2 }, tokenIds: [15] } })).toEqual([1, 3, 4, 6]);
    expect(positions({ include: { roles: [ChatRole.USER] } })).toEqual([3, 4]);
    expect(positions({ include: { promptAll: true }, exclude: { tokenIds: [12] } })).toEqual([1, 4, 6]);
    expect(positions({ include: { generationAll: true } })).toEqual([]);
  });
});

test("the configuration comes from the environment, and what cannot be used is refused by name", () => {
  expect(readConfig({})).toEqual(steeringDefaults);
  const config = readConfig({ MISTRAL_SAE_INFERENCE: "h:1", MISTRAL_SAE_FEATURE_INDEX: "h:2", MISTRAL_SAE_STEERING_MAX_CANDIDATES: "7" });
  expect(config).toMatchObject({ inference: "h:1", featureIndex: "h:2", suggest: { maxCandidates: 7 } });
  expect(() => readConfig({ MISTRAL_SAE_STEERING_LEAST_LIFT: "-1" })).toThrow(/MISTRAL_SAE_STEERING_LEAST_LIFT.*above 0/);
});
