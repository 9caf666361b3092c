import { join } from "node:path";
import { openSafetensors, tensorOf, type Tensor } from "@mistral-sae/tensor";
import { readModelConfig } from "../../src/config/model-config.ts";
import { blocksOfRow, type BlockFormat } from "../../src/quantisation/blocks.ts";
import { quantisedModules } from "../../src/quantisation/modules.ts";

/** f32 values [rows, k] of quantised rows. */
export function dequantiseRows(values: Uint8Array, scales: Float32Array, k: number, { bits, blockSize }: BlockFormat): Float32Array {
  const blocks = blocksOfRow(k, blockSize);
  const rows = scales.length / blocks;
  const out = new Float32Array(rows * k);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < k; i++) {
      const at = row * blocks * blockSize + i;
      const q = bits === 8 ? values[at]! - 128 : ((values[at >> 1]! >> ((at & 1) * 4)) & 15) - 8;
      out[row * k + i] = q * scales[row * blocks + Math.floor(i / blockSize)]!;
    }
  }
  return out;
}

/** The float weights, f32, that a quantised folder stands for; the head of a tied model is one of its own. */
export async function dequantiseModel(modelDir: string): Promise<Record<string, Tensor>> {
  const config = await readModelConfig(modelDir);
  await using file = await openSafetensors(join(modelDir, "model.safetensors"));
  const weights: Record<string, Tensor> = {};
  const kv = config.nKeyValueHeads * config.dHead;
  for (const { name, k, n, parts } of quantisedModules({ ...config, tiedEmbeddings: false })) {
    const { data, shape } = await file.read(`${name}.qweight`);
    const blockSize = 32;
    const values = dequantiseRows(data, await file.readF32(`${name}.scales`), k, { bits: shape[2] === blockSize ? 8 : 4, blockSize });
    const rows = parts.length === 3 ? [n - 2 * kv, kv, kv] : parts.map(() => n / parts.length);
    for (const [i, part] of parts.entries()) {
      const start = rows.slice(0, i).reduce((a, b) => a + b, 0);
      weights[part] = tensorOf(values.slice(start * k, (start + rows[i]!) * k), [rows[i]!, k]);
    }
  }
  return weights;
}
