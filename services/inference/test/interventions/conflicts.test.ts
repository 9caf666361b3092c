import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Comparison, ConflictPolicy, type Intervention, InterventionSchema, SteeringMethod } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { EngineInfo } from "@mistral-sae/model";
import { describe, expect, it } from "vitest";
import { placeInterventions } from "../../src/interventions/placed.ts";
import { selects } from "../../src/interventions/positions.ts";
import { resolveInterventions } from "../../src/interventions/resolve.ts";
import { direction } from "../support/messages.ts";
import type { Prompt } from "../../src/wire/prompt.ts";

const SAE = "models/demo/saes/a";
const hooks = [0, 1].flatMap((layer) =>
  ["pre", "post"].map((side) => ({ hookName: `blocks.${layer}.hook_resid_${side}`, width: 4, readable: true, writable: true, refusalReason: "" })),
);
const info = { nLayers: 2, dModel: 4, hooks } as unknown as EngineInfo;
const context = { info, sae: (_: string, name: string) => ({ engineName: name, hookName: "blocks.1.hook_resid_pre", dSae: 16 }) };
const prompt: Prompt = { ids: Uint32Array.of(1, 10, 11, 12), isSpecial: Uint8Array.of(1), spans: undefined };

type Init = Exclude<MessageInitShape<typeof InterventionSchema>, Intervention>;
const feature = (featureIndex: number): Init => ({ target: { case: "feature", value: { sae: SAE, featureIndex } } });
const set = (more: Init = {}): Init => ({ ...feature(3), method: SteeringMethod.FEATURE_SET, strength: 2, ...more });
const add = (more: Init = {}): Init => ({ ...feature(3), method: SteeringMethod.ADD, strength: 2, ...more });

function place(...interventions: Init[]) {
  const messages = interventions.map((init) => create(InterventionSchema, init));
  return placeInterventions(resolveInterventions("i", messages, context), prompt, { specialIds: [1, 2], maxTokens: 8 });
}

describe("two interventions on one feature", () => {
  it("are refused by default where their positions meet, in the prompt or in the generation", () => {
    expect(() => place(set({ id: "a" }), add({ id: "b" }))).toThrow(/i\[1\]: "b" and "a" edit the same thing at blocks\.1\.hook_resid_pre/);
    const generation = { positions: { include: { generationAll: true } } };
    expect(() => place(set(generation), add({ positions: { include: { generationWindow: { start: 3 } } } }))).toThrow(/edit the same thing/);
  });

  it("go together where their positions do not meet", () => {
    const placed = place(set({ positions: { include: { promptAll: true } } }), add({ positions: { include: { generationAll: true } } }));
    expect(placed.map(({ promptRows }) => promptRows)).toEqual([3, 0]);
    expect(place(set({ positions: { include: { generationWindow: { start: 0, end: 3 } } } }), add({ positions: { include: { generationWindow: { start: 3 } } } }))).toHaveLength(2);
  });

  it("both act when the later one says SEQUENTIAL, unless both set it", () => {
    expect(place(set(), add({ conflict: ConflictPolicy.SEQUENTIAL }))).toHaveLength(2);
    expect(() => place(set(), set({ conflict: ConflictPolicy.SEQUENTIAL }))).toThrow(/two FEATURE_SET of one feature cannot both hold/);
  });

  it("go together where one leaves out what the other takes, two FEATURE_SET as well", () => {
    const early = { positions: { include: { promptAll: true, generationWindow: { start: 0, end: 3 } } } };
    const late = { positions: { include: { generationAll: true }, exclude: { generationWindow: { start: 0, end: 3 } } } };
    expect(place(set(early), set(late))).toHaveLength(2);
    expect(place(set({ positions: { include: { tokenIds: [10] } } }), set({ positions: { exclude: { tokenIds: [10] } } }))).toHaveLength(2);
    expect(() => place(set(early), set({ positions: { exclude: { promptAll: true, generationWindow: { start: 0, end: 2 } } } }))).toThrow(/cannot both hold/);
  });

  it("go together where their conditions never hold together", () => {
    const when = (comparison: Comparison, threshold: number, featureIndex = 7): Init => ({ conditions: [{ feature: { sae: SAE, featureIndex }, comparison, threshold }] });
    expect(place(set(when(Comparison.GREATER, 1)), set(when(Comparison.LESS_EQUAL, 1)))).toHaveLength(2);
    expect(() => place(set(when(Comparison.GREATER_EQUAL, 1)), set(when(Comparison.LESS_EQUAL, 1)))).toThrow(/cannot both hold/);
    expect(() => place(set(when(Comparison.GREATER, 1)), add(when(Comparison.LESS, 1, 8)))).toThrow(/edit the same thing/);
  });

  it("leave the shared positions to the first when the later one says FIRST", () => {
    const [, later] = place(
      set({ positions: { include: { promptPositions: [1], generationWindow: { start: 0, end: 2 } } } }),
      add({ conflict: ConflictPolicy.FIRST }),
    );
    expect([...(later?.edit.prompt ?? [])]).toEqual([0, 0, 1, 1]);
    expect([0, 1, 2, 3].map((t) => selects(later?.rule ?? {}, t, 10))).toEqual([false, false, true, true]);
    expect(selects(later?.rule ?? {}, 3, 2)).toBe(false);
  });

  it("meet at one place under both of its names", () => {
    const at = (hookName: string): Init => ({ target: direction([1, 0, 0, 0], hookName), method: SteeringMethod.ABLATE });
    expect(() => place(at("blocks.0.hook_resid_post"), at("blocks.1.hook_resid_pre"))).toThrow(/edit the same thing/);
    expect(place(at("blocks.0.hook_resid_pre"), at("blocks.1.hook_resid_pre"))).toHaveLength(2);
  });
});

describe("interventions", () => {
  it("on other features go together, and get names of their own", () => {
    const placed = place(set(), { ...add(), ...feature(4) });
    expect(placed.map(({ source }) => source.id)).toEqual(["i0", "i1"]);
    expect(() => place(set({ id: "x" }), { ...add({ id: "x" }), ...feature(4) })).toThrow(/i\[1\]\.id: got "x" twice/);
  });
});
