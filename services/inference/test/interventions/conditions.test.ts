import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Comparison as C, type Condition, type ConditionSchema, ConditionAction, InterventionSchema, SteeringMethod } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { EngineInfo } from "@mistral-sae/model";
import { describe, expect, it } from "vitest";
import { placeInterventions } from "../../src/interventions/placed.ts";
import { resolveInterventions } from "../../src/interventions/resolve.ts";
import type { Prompt } from "../../src/wire/prompt.ts";
import { direction } from "../support/messages.ts";

const hooks = [0, 1].flatMap((layer) =>
  ["hook_resid_pre", "hook_resid_post", "hook_mlp_out"].map((name) => ({ hookName: `blocks.${layer}.${name}`, width: 4, readable: true, writable: name !== "hook_mlp_out", refusalReason: "no" })),
);
const info = { nLayers: 2, dModel: 4, hooks } as unknown as EngineInfo;
const context = { info, sae: (_: string, name: string) => ({ engineName: `e-${name}`, hookName: name, dSae: 16 }) };
const prompt: Prompt = { ids: Uint32Array.of(1, 10, 11, 12), isSpecial: Uint8Array.of(1), spans: undefined };

type Init = Exclude<MessageInitShape<typeof ConditionSchema>, Condition>;

/** An ADD after the first layer under conditions. */
function place(conditions: Init[], maxTokens = 8) {
  const message = create(InterventionSchema, { target: direction([1, 0, 0, 0], "blocks.0.hook_resid_post"), method: SteeringMethod.ADD, strength: 1, conditions });
  return placeInterventions(resolveInterventions("i", [message], context), prompt, { specialIds: [1, 2], maxTokens })[0]?.edit;
}
const when = (more: Init = {}, hookName = "blocks.0.hook_resid_pre"): Init => ({ feature: { sae: hookName, featureIndex: 3 }, comparison: C.GREATER, threshold: 0.5, ...more });

describe("conditions", () => {
  it("become the engine's, with defaults filled in", () => {
    expect(place([when(), when({ comparison: C.LESS_EQUAL, threshold: 2, lookback: 4, action: ConditionAction.ABORT }, "blocks.1.hook_resid_post")])?.conditions).toEqual([
      { sae: "e-blocks.0.hook_resid_pre", hook: "blocks.0.hook_resid_pre", feature: 3, comparison: "greater", threshold: 0.5, lookback: 1, action: "apply" },
      { sae: "e-blocks.1.hook_resid_post", hook: "blocks.1.hook_resid_post", feature: 3, comparison: "less_equal", threshold: 2, lookback: 4, action: "abort" },
    ]);
    expect(place([])).not.toHaveProperty("conditions");
  });

  it("watch the hook of the edit itself, under either of its names", () => {
    expect(place([when({}, "blocks.1.hook_resid_pre")])?.conditions).toHaveLength(1);
  });

  const refused: [string, Init[], RegExp][] = [
    ["a feature that is known too late", [when({}, "blocks.1.hook_resid_post")], /i\[0\]\.conditions\[0\]\.feature\.sae: got an SAE at blocks\.1\.hook_resid_post, wanted one at or before blocks\.0\.hook_resid_post/],
    ["a hook off the residual stream", [when({}, "blocks.0.hook_mlp_out")], /conditions watch the residual stream/],
    ["a feature that is not there", [when({ feature: { sae: "blocks.0.hook_resid_pre", featureIndex: 16 } })], /conditions\[0\]\.feature\.feature_index: got 16, wanted less than 16/],
    ["no comparison", [when({ comparison: C.UNSPECIFIED })], /conditions\[0\]\.comparison: got 0, wanted GREATER/],
    ["an unknown action", [when({ action: 9 as ConditionAction })], /conditions\[0\]\.action: got 9/],
    ["a threshold that is no number", [when({ threshold: Number.NaN })], /conditions\[0\]\.threshold: got NaN/],
    ["less than nothing", [when(), when({ comparison: C.LESS, threshold: 0 })], /conditions\[1\]: got < 0, wanted a condition that can hold: an activation is 0 or more/],
    ["conditions that rule each other out", [when({ threshold: 2 }), when({ comparison: C.LESS_EQUAL, threshold: 1 })], /conditions\[1\]: got <= 1, wanted a condition that can hold: i\[0\]\.conditions\[0\] on the same feature rules it out/],
  ];
  it.each(refused)("refuse %s", (_, conditions, message) => {
    expect(() => place(conditions)).toThrow(message);
  });

  it("end generations only", () => {
    expect(() => place([when({ action: ConditionAction.ABORT })], 0)).toThrow(/conditions\[0\]\.action: got ABORT, wanted APPLY: nothing is generated here/);
  });
});
