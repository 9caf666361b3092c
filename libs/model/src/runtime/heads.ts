import { Tensor } from "onnxruntime-node";
import { buildDirectionHead, buildHead, buildScoreHead } from "../graph/head.ts";
import type { ModelSource } from "../graph/model-source.ts";
import { floats, longs, type SessionSettings } from "./session.ts";
import { Sessions } from "./sessions.ts";

/** Rows of logits of one run at most, bytes: scoring holds several copies of them at once. */
const logitsBytes = 16 << 20;

/** Tokens that directions promote and suppress, each [n, k]. */
export interface DirectionTokens {
  readonly topIds: BigInt64Array;
  readonly topLogits: Float32Array;
  readonly lowIds: BigInt64Array;
  readonly lowLogits: Float32Array;
}

/** The end of the model: final norm and unembedding, and what is computed from the logits. Loaded when first used. */
export class Heads {
  readonly #source: ModelSource;
  readonly #sessions: Sessions;

  constructor(source: ModelSource, settings: SessionSettings) {
    this.#source = source;
    this.#sessions = new Sessions(settings);
  }

  /** Rows that one run should take at most. */
  get rowsPerRun(): number {
    return Math.max(1, Math.floor(logitsBytes / (this.#source.config.dVocab * Float32Array.BYTES_PER_ELEMENT)));
  }

  /** Logits [n, dVocab] of residual rows [n, dModel] at the end of the layers. */
  async logits(rows: Float32Array, n: number): Promise<Float32Array> {
    const session = await this.#sessions.get("logits", () => buildHead(this.#source));
    return floats(await session.run({ resid: this.#rows(rows, 0, n) }, ["logits"]), "logits");
  }

  /** ln p of one target a row, [n]; with `base` rows also theirs and KL(base ‖ row), [n] each. */
  async score(rows: Float32Array, targets: Uint32Array, base: Float32Array | undefined): Promise<{ logprobs: Float32Array; uneditedLogprobs: Float32Array; kl: Float32Array }> {
    const n = targets.length;
    const logprobs = new Float32Array(n);
    const kl = new Float32Array(base === undefined ? 0 : n);
    const uneditedLogprobs = new Float32Array(kl.length);
    const session = await this.#sessions.get(base === undefined ? "score" : "score_kl", () => buildScoreHead(this.#source, base !== undefined));
    for (let start = 0; start < n; start += this.rowsPerRun) {
      const count = Math.min(this.rowsPerRun, n - start);
      const outputs = await session.run(
        {
          resid: this.#rows(rows, start, count),
          targets: new Tensor("int64", BigInt64Array.from(targets.subarray(start, start + count), BigInt), [count, 1]),
          ...(base === undefined ? {} : { resid_base: this.#rows(base, start, count) }),
        },
        base === undefined ? ["logprobs"] : ["logprobs", "base_logprobs", "kl"],
      );
      logprobs.set(floats(outputs, "logprobs"), start);
      if (base === undefined) continue;
      uneditedLogprobs.set(floats(outputs, "base_logprobs"), start);
      kl.set(floats(outputs, "kl"), start);
    }
    return { logprobs, uneditedLogprobs, kl };
  }

  /** W_U · (g ∘ d) of directions [n, dModel]: the k largest and smallest logits of each. */
  async directions(rows: Float32Array, n: number, k: number): Promise<DirectionTokens> {
    const session = await this.#sessions.get("directions", () => buildDirectionHead(this.#source));
    const outputs = await session.run({ directions: this.#rows(rows, 0, n), k: new Tensor("int64", BigInt64Array.of(BigInt(k)), [1]) }, ["top_values", "top_ids", "low_values", "low_ids"]);
    return { topIds: longs(outputs, "top_ids"), topLogits: floats(outputs, "top_values"), lowIds: longs(outputs, "low_ids"), lowLogits: floats(outputs, "low_values") };
  }

  async close(): Promise<void> {
    await this.#sessions.close();
  }

  #rows(rows: Float32Array, start: number, count: number): Tensor {
    const { dModel } = this.#source.config;
    return new Tensor("float32", rows.subarray(start * dModel, (start + count) * dModel), [count, dModel]);
  }
}
