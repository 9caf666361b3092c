import { openWeights } from "@mistral-sae/tensor";
import { readModelConfig, type ModelConfig } from "../../src/config/model-config.ts";

/** Changes the residual rows [T][d] after `point` layers, in place; a layer and a half is the point before the MLP of layer 1. */
export type ResidualHook = (point: number, rows: number[][]) => void;

type Matrix = (name: string) => { readonly values: Float32Array; readonly width: number };

/**
 * Mistral by its formulas, in double precision and without any engine: what the graph is checked against. Slow; for a
 * few dozen tokens of a small model.
 */
export class ReferenceModel {
  readonly config: ModelConfig;
  readonly #weights: ReadonlyMap<string, { readonly values: Float32Array; readonly width: number }>;

  private constructor(config: ModelConfig, weights: ReadonlyMap<string, { readonly values: Float32Array; readonly width: number }>) {
    this.config = config;
    this.#weights = weights;
  }

  static async open(modelDir: string): Promise<ReferenceModel> {
    const config = await readModelConfig(modelDir);
    await using weights = await openWeights(modelDir);
    const all = new Map<string, { values: Float32Array; width: number }>();
    for (const [name, { shape }] of weights.tensors) all.set(name, { values: await weights.readF32(name), width: shape.at(-1) ?? 1 });
    return new ReferenceModel(config, all);
  }

  /** Logits [T][V], the residuals before each layer and after the last, [L + 1][T][d], after the hook, and values inside layers by name, [T][width]. */
  forward(tokens: readonly number[], hook: ResidualHook = () => undefined): { logits: number[][]; residuals: number[][][]; inner: Map<string, number[][]> } {
    const { nLayers, dModel } = this.config;
    const get: Matrix = (name) => {
      const weight = this.#weights.get(name);
      if (weight === undefined) throw new Error(`no weight ${name}`);
      return weight;
    };
    const table = get("model.embed_tokens.weight").values;
    let rows = tokens.map((token) => [...table.subarray(token * dModel, (token + 1) * dModel)]);
    const residuals: number[][][] = [];
    const inner = new Map<string, number[][]>();
    const keep = (point: number): void => {
      hook(point, rows);
      residuals.push(rows.map((row) => [...row]));
    };
    keep(0);
    for (let layer = 0; layer < nLayers; layer++) {
      const keepInner = (name: string, values: number[][]): void => void inner.set(`blocks.${layer}.${name}`, values);
      const middle = this.#attention(get, layer, rows, keepInner);
      hook(layer + 0.5, middle);
      keepInner("hook_resid_mid", middle.map((row) => [...row]));
      rows = this.#mlp(get, layer, middle, keepInner);
      keep(layer + 1);
    }
    const { normEpsilon } = this.config;
    inner.set("hook_embed", residuals[0]!);
    inner.set("ln_final.hook_normalized", rows.map((row) => row.map((x) => x / Math.sqrt(row.reduce((sum, y) => sum + y * y, 0) / dModel + normEpsilon))));
    return { logits: rows.map((row) => this.head(row)), residuals, inner };
  }

  /** Logits of one residual row at the end of the layers. */
  head(row: readonly number[]): number[] {
    const name = this.config.tiedEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    return multiply(this.#weights.get(name)!, this.#norm(row, this.#weights.get("model.norm.weight")!.values));
  }

  #norm(row: readonly number[], weight: Float32Array): number[] {
    const scale = 1 / Math.sqrt(row.reduce((sum, x) => sum + x * x, 0) / row.length + this.config.normEpsilon);
    return row.map((x, i) => x * scale * weight[i]!);
  }

  #attention(get: Matrix, layer: number, rows: readonly (readonly number[])[], keep: (name: string, values: number[][]) => void): number[][] {
    const { nHeads, nKeyValueHeads, dHead } = this.config;
    const slidingWindow = this.config.slidingWindows[layer];
    const prefix = `model.layers.${layer}`;
    const normed = rows.map((row) => this.#norm(row, get(`${prefix}.input_layernorm.weight`).values));
    const project = (name: string): number[][] => normed.map((row) => multiply(get(`${prefix}.self_attn.${name}_proj.weight`), row));
    const [q, k, value] = [project("q"), project("k"), project("v")] as const;
    keep("attn.hook_q", q);
    keep("attn.hook_k", k);
    keep("attn.hook_v", value);
    const query = q.map((row, position) => this.#rotate(row, position));
    const key = k.map((row, position) => this.#rotate(row, position));
    const mixed = rows.map((_, t) => {
      const attended: number[] = [];
      for (let head = 0; head < nHeads; head++) {
        const shared = Math.floor(head / (nHeads / nKeyValueHeads)) * dHead;
        const first = slidingWindow === undefined ? 0 : Math.max(0, t - slidingWindow + 1);
        const scores: number[] = [];
        for (let s = first; s <= t; s++) {
          let dot = 0;
          for (let i = 0; i < dHead; i++) dot += query[t]![head * dHead + i]! * key[s]![shared + i]!;
          scores.push(dot / Math.sqrt(dHead));
        }
        const most = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - most));
        const total = weights.reduce((a, b) => a + b, 0);
        for (let i = 0; i < dHead; i++) attended.push(weights.reduce((sum, w, s) => sum + (w / total) * value[first + s]![shared + i]!, 0));
      }
      return attended;
    });
    const out = mixed.map((row) => multiply(get(`${prefix}.self_attn.o_proj.weight`), row));
    keep("attn.hook_z", mixed);
    keep("hook_attn_out", out);
    return rows.map((row, t) => row.map((x, i) => x + out[t]![i]!));
  }

  #mlp(get: Matrix, layer: number, rows: readonly (readonly number[])[], keep: (name: string, values: number[][]) => void): number[][] {
    const prefix = `model.layers.${layer}`;
    const hidden = rows.map((row) => {
      const inner = this.#norm(row, get(`${prefix}.post_attention_layernorm.weight`).values);
      const gate = multiply(get(`${prefix}.mlp.gate_proj.weight`), inner);
      const up = multiply(get(`${prefix}.mlp.up_proj.weight`), inner);
      return gate.map((x, i) => (x / (1 + Math.exp(-x))) * up[i]!);
    });
    const out = hidden.map((row) => multiply(get(`${prefix}.mlp.down_proj.weight`), row));
    keep("mlp.hook_post", hidden);
    keep("hook_mlp_out", out);
    return rows.map((row, t) => row.map((x, i) => x + out[t]![i]!));
  }

  #rotate(row: readonly number[], position: number): number[] {
    const { dHead, rope } = this.config;
    const half = dHead / 2;
    return row.map((x, i) => {
      const within = i % dHead;
      const angle = position * rope.theta ** (-(2 * (within % half)) / dHead);
      const partner = within < half ? -row[i + half]! : row[i - half]!;
      return x * Math.cos(angle) + partner * Math.sin(angle);
    });
  }
}

function multiply({ values, width }: { readonly values: Float32Array; readonly width: number }, x: readonly number[]): number[] {
  const out: number[] = [];
  for (let at = 0; at < values.length; at += width) {
    let sum = 0;
    for (let i = 0; i < width; i++) sum += values[at + i]! * x[i]!;
    out.push(sum);
  }
  return out;
}
