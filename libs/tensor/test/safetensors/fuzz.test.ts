import { expect, test } from "vitest";
import { InputError, parseHeader } from "../../src/index.ts";

const ROUNDS = 5000;
const GOOD = JSON.stringify({
  __metadata__: { format: "pt", "a\\\"b": "{\"x\":1}" },
  "blocks.0.W_enc": { dtype: "F32", shape: [4, 8], data_offsets: [0, 128] },
  b_enc: { dtype: "BF16", shape: [8], data_offsets: [128, 144] },
  steps: { dtype: "I64", shape: [], data_offsets: [144, 152] },
});

function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const SNIPPETS = ["\"", "\\", "{", "}", "[", "]", ",", ":", "0", "-1", "1e999", "null", "true", "9007199254740993", "\"dtype\":", "\"x\":{},", "__proto__", "\\u0000", " ", "\n", "\uFEFF", "[[[[[[[["];

test(`${ROUNDS} mutated headers either parse or are refused with an InputError`, () => {
  const random = generator(20_240_607);
  const good = new TextEncoder().encode(GOOD);
  const outcomes = { parsed: 0, refused: 0 };
  for (let round = 0; round < ROUNDS; round++) {
    let bytes: number[] = [...good];
    for (let edits = 1 + random(4); edits > 0; edits--) {
      const at = random(bytes.length + 1);
      const choice = random(5);
      if (choice === 0) bytes[Math.min(at, bytes.length - 1)] = random(256);
      else if (choice === 1) bytes.splice(at, random(12));
      else if (choice === 2) bytes.splice(at, 0, ...new TextEncoder().encode(SNIPPETS[random(SNIPPETS.length)]));
      else if (choice === 3) bytes.splice(at, 0, ...bytes.slice(at, at + random(80)));
      else bytes = bytes.slice(0, Math.max(1, at));
      if (bytes.length === 0) bytes = [0];
    }
    const header = Uint8Array.from(bytes);
    const size = 8 + header.length + (random(3) === 0 ? random(300) : 152);
    try {
      const { entries } = parseHeader(header, size, "fuzz.safetensors");
      outcomes.parsed++;
      let end = 8 + header.length;
      for (const { offset, length } of [...entries.values()].sort((a, b) => a.offset - b.offset || a.length - b.length)) {
        expect(offset).toBe(end);
        end += length;
      }
      expect(end).toBe(size);
    } catch (error) {
      if (!(error instanceof InputError) || error.file !== "fuzz.safetensors") throw error;
      outcomes.refused++;
    }
  }
  expect(outcomes.parsed).toBeGreaterThan(10);
  expect(outcomes.refused).toBeGreaterThan(ROUNDS / 2);
});

test("a header of a million open brackets is refused without a crash", () => {
  const header = new TextEncoder().encode(`{"x":${"[".repeat(1_000_000)}`);
  expect(() => parseHeader(header, header.length + 8, "deep.safetensors")).toThrow(InputError);
  const closed = new TextEncoder().encode(`{"x":${"[".repeat(500_000)}${"]".repeat(500_000)}}`);
  expect(() => parseHeader(closed, closed.length + 8, "deep.safetensors")).toThrow(InputError);
});
