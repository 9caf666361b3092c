import { create } from "@bufbuild/protobuf";
import { Optimizer, TrainingConfigSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import { SweepAxisSchema, type SweepAxis } from "@mistral-sae/contracts/mistral_sae/training/v1/sweep";
import { Code } from "@mistral-sae/rpc";
import { describe, expect, it } from "vitest";
import { combinations } from "../../src/sweeps/combinations.ts";

const common = create(TrainingConfigSchema, { dSae: 256, k: 8, seed: 3n, corpus: { uri: "/texts" }, extra: {} });
const axis = (field: string, ...values: string[]): SweepAxis => create(SweepAxisSchema, { field, values });

describe("combinations", () => {
  it("are every value with every other, the last axis fastest", () => {
    const made = combinations(common, [axis("k", "4", "16"), axis("lr", "1e-3", "2e-4"), axis("seed", "1")]);
    expect(made.map(({ values }) => values)).toEqual([
      { k: "4", lr: "1e-3", seed: "1" },
      { k: "4", lr: "2e-4", seed: "1" },
      { k: "16", lr: "1e-3", seed: "1" },
      { k: "16", lr: "2e-4", seed: "1" },
    ]);
    expect(made[3]?.config).toMatchObject({ k: 16, lr: 2e-4, seed: 1n, dSae: 256, corpus: { uri: "/texts" } });
  });

  it("take words with and without quotes, values of enums, lists and messages", () => {
    const one = (field: string, value: string) => combinations(common, [axis(field, value)])[0]?.config;
    expect(one("architecture", "jumprelu")?.architecture).toBe("jumprelu");
    expect(one("architecture", '"gated"')?.architecture).toBe("gated");
    expect(one("optimizer", "signum_schedule_free")?.optimizer).toBe(Optimizer.SIGNUM_SCHEDULE_FREE);
    expect(one("optimizer", "OPTIMIZER_ADAMW")?.optimizer).toBe(Optimizer.ADAMW);
    expect(one("matryoshka_widths", "[64, 128]")?.matryoshkaWidths).toEqual([64, 128]);
    expect(one("corpus", '{"uri": "/others"}')?.corpus?.uri).toBe("/others");
    expect(one("skip_connection", "true")?.skipConnection).toBe(true);
  });

  it.each([
    ["axes", [], "got none"],
    ["axes[0].field", [axis("kk", "1")], '"kk"'],
    ["axes[1].field", [axis("k", "1"), axis("k", "2")], "got k twice"],
    ["axes[0].values", [axis("k")], "got none"],
    ["axes[0].values[1]", [axis("k", "8", "many")], "got many"],
    ["axes[0].values[0]", [axis("optimizer", "sgd")], "adam, adamw, signum_schedule_free"],
    ["axes[0].values[2]", [axis("lr", "1e-3", "2", "0.001")], "0.001 twice"],
    ["axes", [axis("k", ...Array.from({ length: 20 }, (_, at) => String(at + 1))), axis("seed", ...Array.from({ length: 13 }, (_, at) => String(at)))], "260 combinations"],
  ])("name %s where they make no sense", (field, axes, message) => {
    expect(() => combinations(common, axes)).toThrow(expect.objectContaining({ code: Code.InvalidArgument, message: expect.stringContaining(message), violations: [expect.objectContaining({ field })] }));
  });
});
