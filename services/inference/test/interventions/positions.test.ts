import { create } from "@bufbuild/protobuf";
import { PositionSelectorSchema, PositionSetSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { ChatRole } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import { describe, expect, it } from "vitest";
import { generatedSet, maySelect, place, positionIn, promptMask, selects } from "../../src/interventions/positions.ts";
import type { Prompt } from "../../src/wire/prompt.ts";

/** Eight tokens: BOS, then six of text, the last one a control token. */
const prompt: Prompt = {
  ids: Uint32Array.of(1, 10, 11, 12, 11, 13, 14, 3),
  isSpecial: Uint8Array.of(0b1000_0001),
  spans: [
    { role: "user", start: 1, end: 4 },
    { role: "assistant", start: 4, end: 7 },
  ],
};
const maskOf = (set: Parameters<typeof create<typeof PositionSetSchema>>[1]) => [...promptMask("positions", create(PositionSetSchema, set), prompt)].join("");

describe("a set of positions", () => {
  it("is the union of all that is set in it", () => {
    expect(maskOf({})).toBe("00000000");
    expect(maskOf({ promptAll: true })).toBe("11111111");
    expect(maskOf({ promptPositions: [0, -1] })).toBe("10000001");
    expect(maskOf({ promptWindow: { start: 2, end: 4 } })).toBe("00110000");
    expect(maskOf({ promptWindow: { start: -3 } })).toBe("00000111");
    expect(maskOf({ promptWindow: { start: 1, end: -6 } })).toBe("01000000");
    expect(maskOf({ tokenIds: [11] })).toBe("00101000");
    expect(maskOf({ roles: [ChatRole.USER] })).toBe("01110000");
    expect(maskOf({ roles: [ChatRole.USER], promptPositions: [7] })).toBe("01110001");
  });

  it("refuses positions outside the prompt and roles without a conversation", () => {
    expect(() => maskOf({ promptPositions: [8] })).toThrow("positions.prompt_positions[0]: got 8, wanted -8 to 7");
    expect(() => positionIn("p", -9, 8)).toThrow("got -9, wanted -8 to 7");
    const plain = { ...prompt, spans: undefined };
    expect(() => promptMask("positions", create(PositionSetSchema, { roles: [ChatRole.USER] }), plain)).toThrow(/given as chat/);
    expect(() => generatedSet("positions", create(PositionSetSchema, { generationWindow: { start: -1 } }))).toThrow(/start: got -1, wanted at least 0/);
  });
});

describe("a selector", () => {
  const special = [1, 2, 3];

  it("takes prompt and generation without special tokens when nothing is said", () => {
    const { prompt: mask, generated } = place("positions", undefined, prompt, special);
    expect([...mask].join("")).toBe("01111110");
    expect(selects(generated, 0, 10)).toBe(true);
    expect(selects(generated, 5, 2)).toBe(false);
  });

  it("lets an exclude win over an include", () => {
    const selector = create(PositionSelectorSchema, {
      include: { promptAll: true, generationAll: true },
      exclude: { tokenIds: [11], generationWindow: { start: 0, end: 2 } },
      skipSpecialTokens: false,
    });
    const { prompt: mask, generated } = place("positions", selector, prompt, special);
    expect([...mask].join("")).toBe("11010111");
    expect([0, 1, 2, 3].map((t) => selects(generated, t, 10))).toEqual([false, false, true, true]);
    expect(selects(generated, 9, 11)).toBe(false);
    expect(selects(generated, 9, 2)).toBe(true);
  });

  it("counts what the assistant is to write as written by it", () => {
    const selector = create(PositionSelectorSchema, { include: { roles: [ChatRole.ASSISTANT] } });
    const { prompt: mask, generated } = place("positions", selector, prompt, special);
    expect([...mask].join("")).toBe("00001110");
    expect(selects(generated, 3, 10)).toBe(true);
  });

  it("that names prompt positions alone leaves the generation alone", () => {
    const selector = create(PositionSelectorSchema, { include: { promptPositions: [-2] } });
    const { generated } = place("positions", selector, prompt, special);
    expect(selects(generated, 0, 10)).toBe(false);
    expect(maySelect(generated, 100)).toBe(false);
  });
});

describe("a rule on generated tokens", () => {
  it("may select only tokens that are read again", () => {
    expect(maySelect({}, 2)).toBe(true);
    expect(maySelect({}, 1)).toBe(false);
    expect(maySelect({ include: { window: { start: 5 } } }, 7)).toBe(true);
    expect(maySelect({ include: { window: { start: 6 } } }, 7)).toBe(false);
    expect(maySelect({ include: { tokenIds: [4] } }, 7)).toBe(true);
    expect(maySelect({ exclude: { all: true } }, 7)).toBe(false);
  });
});
