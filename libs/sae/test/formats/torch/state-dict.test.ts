import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { InputError } from "@mistral-sae/tensor";
import { describe, expect, test } from "vitest";
import { openStateDict } from "../../../src/formats/torch/state-dict.ts";
import { readPickle } from "../../../src/formats/torch/pickle.ts";
import { fixture, temporaryFolder } from "../../support.ts";
import { f32Tensor, fileOfPickle, i64Tensor, type TestTensor, torchFile } from "./writing.ts";

const temporary = temporaryFolder();

async function write(name: string, content: Uint8Array): Promise<string> {
  const path = await temporary(name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
  return path;
}

describe("a .pt file", () => {
  test("that torch.save wrote gives its tensors and scalars", async () => {
    await using dict = await openStateDict(fixture("dictionary_learning_topk/ae.pt"));
    expect(Object.fromEntries([...dict.tensors.values()].map(({ name, dtype, shape }) => [name, [dtype, ...shape]]))).toEqual({
      b_dec: ["F32", 64],
      k: ["I32"],
      threshold: ["F32"],
      "decoder.weight": ["F32", 64, 512],
      "encoder.weight": ["F32", 512, 64],
      "encoder.bias": ["F32", 512],
    });
    expect(await dict.readScalar("k")).toBe(8);
    expect(await dict.readScalar("threshold")).toBeCloseTo(0.9, 6);
    const rows = await dict.readF32("decoder.weight");
    const columns = await dict.readTransposed("decoder.weight");
    expect(columns[5 * 64 + 3]).toBe(rows[3 * 512 + 5]);
  });

  test("may hold strided views: transposes, slices and scalars of larger storages", async () => {
    const data = Float32Array.from({ length: 12 }, (_, i) => i);
    const view = (changes: Partial<TestTensor>): TestTensor => ({ ...f32Tensor(data, [3, 4]), ...changes });
    const path = await write("views.pt", torchFile({ plain: view({}), turned: view({ shape: [4, 3], stride: [1, 4] }), slice: view({ shape: [2, 2], stride: [4, 1], offset: 5 }), one: view({ shape: [], offset: 7 }), cube: view({ shape: [2, 3, 2], stride: [1, 4, 2] }) }));
    await using dict = await openStateDict(path);
    expect([...(await dict.readF32("plain"))]).toEqual([...data]);
    expect([...(await dict.readF32("turned"))]).toEqual([0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
    expect([...(await dict.readTransposed("turned"))]).toEqual([...data]);
    expect([...(await dict.readF32("slice"))]).toEqual([5, 6, 9, 10]);
    expect(await dict.readScalar("one")).toBe(7);
    expect([...(await dict.readF32("cube"))]).toEqual([0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]);
  });

  test("is refused when its tensors do not fit their storages, or its bytes are damaged", async () => {
    const data = Float32Array.of(1, 2, 3, 4);
    const open = async (tensor: TestTensor): Promise<void> => {
      await using dict = await openStateDict(await write("wrong.pt", torchFile({ x: tensor })));
      await dict.readF32("x");
    };
    await expect(open({ ...f32Tensor(data, [4]), offset: 1 })).rejects.toThrow(/got an element at 4, wanted below 4/);
    await expect(open({ ...f32Tensor(data, [1_000_000_000]), stride: [0] })).rejects.toThrow(/got 1000000000 elements, wanted at most 4/);
    await expect(open({ ...f32Tensor(data, [4]), count: 5 })).rejects.toThrow(/got 16 bytes, wanted 20 bytes/);
    await expect(open(i64Tensor([1], [1]))).rejects.toThrow(/x\.dtype; got I64/);
    const damaged = torchFile({ x: f32Tensor(data, [4]) });
    const at = Buffer.from(damaged).indexOf(Buffer.from(data.buffer));
    damaged[at]! ^= 1;
    await using dict = await openStateDict(await write("damaged.pt", damaged));
    await expect(dict.readF32("x")).rejects.toThrow(/damaged.*CRC-32/);
  });

  test("is refused when it is no archive, or holds something else", async () => {
    await expect(openStateDict(await write("old.pt", new Uint8Array(100)))).rejects.toThrow(/wanted a zip archive/);
    await expect(openStateDict(await write("empty.pt", new Uint8Array(0)))).rejects.toThrow(InputError);
    await expect(openStateDict(await write("number.pt", fileOfPickle(Uint8Array.of(0x80, 2, 0x4b, 7, 0x2e))))).rejects.toThrow(/no state dict.*got number/);
    await expect(openStateDict(await temporary("nowhere.pt"))).rejects.toThrow(/no such file/);
  });
});

describe("the pickle in it", () => {
  const ascii = (text: string): number[] => [...new TextEncoder().encode(text)];
  const refused = (...bytes: number[]): void => {
    expect(() => readPickle(Uint8Array.from(bytes), "x.pt")).toThrow(InputError);
  };

  test("never runs anything: calls outside the closed list are refused by name", () => {
    const call = [...ascii("cposix\nsystem\n"), 0x8c, 2, ...ascii("ls"), 0x85, 0x52, 0x2e];
    expect(() => readPickle(Uint8Array.from(call), "x.pt")).toThrow(/refers to "posix\.system"/);
    expect(() => readPickle(Uint8Array.from([0x8c, 8, ...ascii("builtins"), 0x8c, 4, ...ascii("eval"), 0x93, 0x2e]), "x.pt")).toThrow(/"builtins\.eval"/);
    expect(() => readPickle(Uint8Array.from([...ascii("ctorch\nFloatStorage\n"), 0x29, 0x52, 0x2e]), "x.pt")).toThrow(/torch\.FloatStorage with 0 arguments/);
  });

  test("is refused for opcodes that no state dict needs, and for broken stacks", () => {
    for (const opcode of [0x69, 0x6f, 0x81, 0x92, 0x53, 0x49, 0x42, 0x8e, 0x82, 0x50]) expect(() => readPickle(Uint8Array.of(opcode, 0x2e), "x.pt")).toThrow(/is not allowed/);
    refused(0x2e);
    refused(0x52, 0x2e);
    refused(0x74, 0x2e);
    refused(0x68, 3, 0x2e);
    refused(0x4e, 0x4e, 0x2e);
    refused(0x58, 255, 255, 255, 255);
    refused(0x28, 0x2e);
    refused(0x4e, 0x51, 0x2e);
  });

  test("is refused when it would make far more than its bytes: endless objects, tensors of endless dimensions", async () => {
    const many = (opcode: number): Promise<string> => write("many.pt", fileOfPickle(new Uint8Array(3 << 20).fill(opcode)));
    for (const opcode of [0x7d, 0x5d, 0x29, 0x28, 0x4e]) await expect(many(opcode).then(openStateDict)).rejects.toThrow(/too long for a state dict.*got more than 262144 opcodes/);
    const shape = Array.from({ length: 65 }, () => 1);
    await expect(openStateDict(await write("dimensions.pt", torchFile({ a: { ...f32Tensor(Float32Array.of(1), []), shape, stride: shape } })))).rejects.toThrow(/not described as torch does it/);
    await expect(openStateDict(await write("large.pt", fileOfPickle(new Uint8Array((4 << 20) + 1))))).rejects.toThrow(/too large for a state dict/);
  });

  test("mutated 3000 times is read or refused, and never crashes", () => {
    const good = torchFile({ a: f32Tensor(Float32Array.of(1, 2), [2]), k: i64Tensor([3], []), s: "text", d: { dict: { k: 5 } } });
    const start = Buffer.from(good).indexOf("ae/data.pkl") + "ae/data.pkl".length;
    const pickle = good.subarray(start, Buffer.from(good).indexOf(Buffer.from([0x50, 0x4b, 3, 4]), start));
    let state = 7;
    const random = (below: number): number => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) % below;
    let refusals = 0;
    for (let round = 0; round < 3000; round++) {
      const bytes = Uint8Array.from(pickle);
      for (let edits = 1 + random(3); edits > 0; edits--) bytes[random(bytes.length)] = random(256);
      try {
        readPickle(bytes, "x.pt");
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        refusals++;
      }
    }
    expect(refusals).toBeGreaterThan(500);
  });
});
