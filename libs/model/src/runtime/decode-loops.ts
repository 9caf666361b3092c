import { Tensor } from "onnxruntime-node";
import { buildDecodeLoop } from "../graph/decode-loop.ts";
import type { ModelSource } from "../graph/model-source.ts";
import type { CacheGroup } from "./kv-cache.ts";
import { floats, type Feeds, longs, type SessionSettings } from "./session.ts";
import { Sessions } from "./sessions.ts";

/** How each row of a run samples: arrays of one value a row, draws [steps, rows]. */
export interface LoopSampling {
  readonly draws: Float64Array;
  readonly temperature: Float64Array;
  readonly topK: BigInt64Array;
  readonly topP: Float64Array;
  readonly minP: Float64Array;
}

/** What a run gives. */
export interface LoopResult {
  /** [steps, rows] */
  readonly tokens: BigInt64Array;
  /** [rows, dModel] at the end of the layers, of the tokens fed last. */
  readonly resid: Float32Array;
}

/**
 * The model as loops that decode several tokens in one run, loaded when first used: one that is greedy and one that
 * samples. They hold weights of their own beside the segments'.
 */
export class DecodeLoops {
  readonly #source: ModelSource;
  readonly #sessions: Sessions;

  constructor(source: ModelSource, settings: SessionSettings) {
    this.#source = source;
    this.#sessions = new Sessions(settings);
  }

  /** Feeds `tokens` and then what is chosen, `steps` tokens a row; the cache of the group holds them afterwards, its lengths are the caller's to move. */
  async run({ arena, rows }: CacheGroup, tokens: BigInt64Array, steps: number, sampling: LoopSampling | undefined): Promise<LoopResult> {
    const { nLayers, dModel } = this.#source.config;
    const n = rows.length;
    const session = await this.#sessions.get(sampling === undefined ? "greedy" : "sampled", () => buildDecodeLoop(this.#source, sampling !== undefined));
    const feeds: Feeds = {
      steps: new Tensor("int64", BigInt64Array.of(BigInt(steps)), []),
      token: new Tensor("int64", tokens, [n, 1]),
      seqlens_k: new Tensor("int32", Int32Array.from(rows, ({ length }) => length), [n]),
      total_sequence_length: new Tensor("int32", Int32Array.of(rows.reduce((most, { length }) => Math.max(most, length), 0) + 1), []),
      resid_in: new Tensor("float32", new Float32Array(n * dModel), [n, 1, dModel]),
    };
    if (sampling !== undefined) {
      feeds["draws"] = new Tensor("float64", sampling.draws, [steps, n, 1]);
      feeds["temperature"] = new Tensor("float64", sampling.temperature, [n, 1]);
      feeds["top_k"] = new Tensor("int64", sampling.topK, [n, 1]);
      feeds["top_p"] = new Tensor("float64", sampling.topP, [n, 1]);
      feeds["min_p"] = new Tensor("float64", sampling.minP, [n, 1]);
    }
    arena.feed(feeds, 0, nLayers, 0, n);
    const presents = Array.from({ length: nLayers }, (_, layer) => [`present_key_${layer}`, `present_value_${layer}`]).flat();
    const outputs = await session.run(feeds, ["tokens", "resid", ...presents]);
    for (let layer = 0; layer < nLayers; layer++) arena.overwrite(layer, floats(outputs, `present_key_${layer}`), floats(outputs, `present_value_${layer}`));
    return { tokens: longs(outputs, "tokens"), resid: floats(outputs, "resid") };
  }

  async close(): Promise<void> {
    await this.#sessions.close();
  }
}
