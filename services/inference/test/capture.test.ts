import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { type ForwardRequest, type ForwardRequestSchema, type ForwardResponse, Reduction } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { PositionSetSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { bytesFromF32 } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ids } from "./support/messages.ts";
import { removeData, startService, type TestService } from "./support/service.ts";

const LENGTHS = [3, 40, 17, 40, 9];
const prompts = LENGTHS.map((length, p) => ids(Array.from({ length }, (_, i) => (i === 0 ? 1 : 5 + ((i * 97 + p * 31) % 4000)))));

/** A capture's rows by prompt and hook, put together from its messages. */
type Captured = ReadonlyMap<string, { readonly positions: number[]; readonly bytes: Uint8Array }>;

let service: TestService;
let hooks: { hookName: string; width: number }[];
let plain: Captured;
beforeAll(async () => {
  service = await startService();
  const capabilities = await service.inference.getCapabilities({});
  // One of each kind, and two of one: the layers are alike.
  hooks = capabilities.hooks.filter(({ hookName, readable }) => readable && (!hookName.startsWith("blocks.") || hookName.startsWith("blocks.1.") || hookName === "blocks.3.hook_resid_post"));
  plain = await capture({});
});
afterAll(async () => {
  await service.stop();
  await removeData(service);
});

async function capture(options: Pick<Exclude<MessageInitShape<typeof ForwardRequestSchema>, ForwardRequest>, "positions" | "outputDtype" | "reduction">): Promise<Captured> {
  const parts = new Map<string, ForwardResponse[]>();
  for await (const chunk of service.inference.forward({ prompts, hookNames: hooks.map(({ hookName }) => hookName), ...options })) {
    const key = `${chunk.promptIndex} ${chunk.hookName}`;
    parts.set(key, [...(parts.get(key) ?? []), chunk]);
  }
  return new Map(
    [...parts].map(([key, chunks]) => {
      expect(chunks.map(({ last }) => last)).toEqual(chunks.map((_, i) => i === chunks.length - 1));
      const positions = chunks.flatMap(({ tokenStart, tensor }) => Array.from({ length: tensor?.shape[0] ?? 0 }, (_, i) => tokenStart + i));
      return [key, { positions, bytes: new Uint8Array(Buffer.concat(chunks.map(({ tensor }) => tensor?.data ?? new Uint8Array()))) }];
    }),
  );
}

/** What a capture with these options has to be, made of the plain one. */
function expected(prompt: number, hook: { hookName: string; width: number }, selected: readonly number[], reduction: Reduction): Float32Array {
  const { bytes } = plain.get(`${prompt} ${hook.hookName}`) ?? { bytes: new Uint8Array() };
  const all = new Float32Array(bytes.buffer);
  const rows = selected.map((position) => all.subarray(position * hook.width, (position + 1) * hook.width));
  if (reduction === Reduction.UNSPECIFIED) {
    const together = new Float32Array(rows.length * hook.width);
    for (const [i, row] of rows.entries()) together.set(row, i * hook.width);
    return together;
  }
  if (rows.length === 0) return new Float32Array();
  return Float32Array.from({ length: hook.width }, (_, d) => {
    const values = rows.map((row) => row[d] ?? Number.NaN);
    if (reduction === Reduction.LAST) return values.at(-1) ?? Number.NaN;
    return reduction === Reduction.MAX ? Math.max(...values) : values.reduce((sum, value) => sum + value, 0) / values.length;
  });
}

const positionSets: { name: string; positions?: MessageInitShape<typeof PositionSetSchema>; of: (length: number) => number[] }[] = [
  { name: "every position", of: (length) => Array.from({ length }, (_, i) => i) },
  { name: "some positions", positions: { promptPositions: [0, -1] }, of: (length) => [0, length - 1] },
  { name: "a window that short prompts do not reach", positions: { promptWindow: { start: 8, end: 12 } }, of: (length) => [8, 9, 10, 11].filter((i) => i < length) },
  { name: "a token", positions: { tokenIds: [1] }, of: () => [0] },
];
const dtypes = [
  { name: "F32", number: DataType.F32 },
  { name: "F16", number: DataType.F16 },
  { name: "BF16", number: DataType.BF16 },
] as const;
const reductions = [Reduction.UNSPECIFIED, Reduction.LAST, Reduction.MEAN, Reduction.MAX];

describe("A capture", () => {
  it("of each hook that can be read has the width that the capabilities tell", () => {
    expect(hooks.length).toBeGreaterThan(0);
    for (const [prompt, length] of LENGTHS.entries()) {
      for (const { hookName, width } of hooks) expect(plain.get(`${prompt} ${hookName}`)?.bytes.length).toBe(length * width * 4);
    }
  });

  for (const { name, positions, of } of positionSets) {
    for (const dtype of dtypes) {
      it(`of ${name} in ${dtype.name}, reduced in every way, is made of the plain one`, async () => {
        for (const reduction of reductions) {
          const captured = await capture({ outputDtype: dtype.number, reduction, ...(positions === undefined ? {} : { positions }) });
          for (const [prompt, length] of LENGTHS.entries()) {
            const selected = of(length);
            for (const hook of hooks) {
              const found = captured.get(`${prompt} ${hook.hookName}`);
              expect(Buffer.compare(found?.bytes ?? new Uint8Array(), bytesFromF32(dtype.name, expected(prompt, hook, selected, reduction)))).toBe(0);
              expect(reduction === Reduction.UNSPECIFIED ? found?.positions : selected).toEqual(selected);
            }
          }
        }
      });
    }
  }
});
