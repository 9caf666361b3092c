import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { type Sae, SaeSchema, ValidationPolicy } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { type SaeWeights, writeSae } from "@mistral-sae/sae";
import { f32View } from "@mistral-sae/tensor";
import { MODEL, type TestService } from "./service.ts";

export const HOOK = "blocks.2.hook_resid_pre";
export const SAE = `${MODEL}/saes/residual`;
/** Directions of the basis; the SAE has twice as many features, one for each sign. */
const BASIS = 128;

const texts = [
  "Once upon a time, there was a little girl named Lily. She loved to play outside in the park.",
  "The big dog ran to the boat. It was a sunny day and the sea was blue.",
  '"Look at the king!" said Tom. The princess was happy and gave him a red ball.',
  "One day, a small bird flew to a tall tree. It was sad because it had no friends.",
  "Mom made a cake. The cat wanted to eat the cake, but Mom said no.",
];

/** Residual rows of a hook over a few sentences, BOS left out: [n, d_model]. */
export async function residuals(service: TestService, hookName: string): Promise<Float32Array[]> {
  const rows: Float32Array[] = [];
  const request = { hookNames: [hookName], prompts: texts.map((value) => ({ prompt: { case: "text" as const, value } })) };
  for await (const { tensor, tokenStart } of service.inference.forward(request)) {
    const [count = 0, width = 0] = tensor?.shape ?? [];
    const values = f32View(tensor?.data ?? new Uint8Array());
    for (let row = tokenStart === 0 ? 1 : 0; row < count; row++) rows.push(values.slice(row * width, (row + 1) * width));
  }
  return rows;
}

/**
 * A TopK SAE without training: its features are an orthonormal basis of what the model's residuals do about their
 * mean, in both signs, so that a code with k large enough reconstructs them well at that hook and nowhere else.
 */
export function saeOf(rows: readonly Float32Array[], k: number, metadata: Readonly<Record<string, unknown>>): SaeWeights {
  const width = rows[0]?.length ?? 0;
  const mean = new Float32Array(width);
  for (const row of rows) for (let d = 0; d < width; d++) mean[d] = (mean[d] ?? 0) + (row[d] ?? 0) / rows.length;
  const basis: Float64Array[] = [];
  for (const row of rows) {
    if (basis.length === BASIS) break;
    const rest = Float64Array.from(row, (value, d) => value - (mean[d] ?? 0));
    for (const direction of basis) {
      const along = dot(rest, direction);
      for (let d = 0; d < width; d++) rest[d] = (rest[d] ?? 0) - along * (direction[d] ?? 0);
    }
    const length = Math.sqrt(dot(rest, rest));
    if (length > 1e-3) basis.push(rest.map((value) => value / length));
  }
  const wDec = new Float32Array(2 * basis.length * width);
  for (const [i, direction] of basis.entries()) {
    wDec.set(direction, 2 * i * width);
    wDec.set(
      direction.map((value) => -value),
      (2 * i + 1) * width,
    );
  }
  return {
    config: {
      architecture: "topk",
      dIn: width,
      dSae: 2 * basis.length,
      k,
      dtype: "float32",
      applyBDecToInput: true,
      normalizeActivations: "none",
      reshapeActivations: "none",
      rescaleActsByDecoderNorm: false,
      metadata,
    },
    wEnc: wDec.slice(),
    bEnc: new Float32Array(2 * basis.length),
    wDec,
    bDec: mean,
  };
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let d = 0; d < a.length; d++) sum += (a[d] ?? 0) * (b[d] ?? 0);
  return sum;
}

/** Writes an SAE of the demo model's residuals at HOOK to a folder of its own; the file may name another hook. */
export async function writeResidualSae(service: TestService, hookInFile = HOOK): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sae-"));
  await writeSae(folder, saeOf(await residuals(service, HOOK), 32, { hook_name: hookInFile, context_size: 128 }));
  return folder;
}

/** Registers an SAE and waits for it. */
export async function createSae(service: TestService, saeId: string, uri: string, options: { hookName?: string; validate?: ValidationPolicy } = {}): Promise<Sae> {
  const { operation } = await service.saes.createSae({ parent: MODEL, saeId, uri, ...options });
  const { operation: done } = await service.operations.waitOperation({ name: operation?.name ?? "" });
  if (done?.state !== OperationState.SUCCEEDED || done.result.case !== "response") {
    throw new Error(done?.result.case === "error" ? done.result.value.message : `the operation is in state ${done?.state}`);
  }
  const sae = anyUnpack(done.result.value, SaeSchema);
  if (sae === undefined) throw new Error("the operation answered with no Sae");
  return sae;
}
