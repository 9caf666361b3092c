import { InputError } from "@mistral-sae/tensor";
import { compileEdits, type EditContext } from "../edits/compile.ts";
import { checkSequence } from "../edits/check-sequence.ts";
import { SequenceEdits } from "../edits/compiled.ts";
import type { Edit } from "../edits/edit.ts";
import type { CompiledEdits } from "../edits/steps.ts";
import type { SaeInfo, Tap } from "../engine.ts";
import { graphHead, padRotary } from "../graph/head-width.ts";
import type { ModelSource } from "../graph/model-source.ts";
import { hookSite, lastPoint } from "../hooks/hook-name.ts";
import { EncoderSessions } from "../sae/encoder-session.ts";
import type { LoadedSae } from "../sae/loaded-sae.ts";
import { SaeRuntime } from "../sae/sae-runtime.ts";
import { Sampler } from "../sampling/sampler.ts";
import type { Batch } from "./batch.ts";
import { DecodeLoops } from "./decode-loops.ts";
import { Heads } from "./heads.ts";
import { KvCache } from "./kv-cache.ts";
import { runPass, type PassResult, type PassShape, type SiteTap } from "./pass.ts";
import { Segments } from "./segments.ts";
import type { SessionSettings } from "./session.ts";

/** What bounds a runtime. */
export interface RuntimeLimits {
  readonly threads: number;
  readonly maxBatchRows: number;
  readonly cacheBytes: number;
}

/** A loaded model: sessions, caches and SAEs. Everything here runs on one thread, one call at a time. */
export class ModelRuntime implements EditContext {
  readonly source: ModelSource;
  readonly limits: RuntimeLimits;
  readonly shape: PassShape;
  readonly heads: Heads;
  readonly loops: DecodeLoops;
  readonly cache: KvCache;
  readonly sampler: Sampler;
  readonly #segments: Segments;
  readonly #encoders: EncoderSessions;
  readonly #saes = new Map<string, SaeRuntime>();

  constructor(source: ModelSource, limits: RuntimeLimits) {
    const { nLayers, nKeyValueHeads, dModel, dVocab, normEpsilon } = source.config;
    const dHead = graphHead(source.config);
    const settings: SessionSettings = { weightsFolder: source.weights.folder, threads: limits.threads, provider: source.provider };
    this.source = source;
    this.limits = limits;
    this.shape = { nLayers, nKeyValueHeads, dHead, dModel, normEpsilon, rotary: padRotary(source.rotary, dHead) };
    this.#segments = new Segments(source, settings);
    this.#encoders = new EncoderSessions(settings);
    this.heads = new Heads(source, settings);
    this.loops = new DecodeLoops(source, settings);
    this.cache = new KvCache(this.shape, source.nCtx, limits.cacheBytes);
    this.sampler = new Sampler(dVocab);
  }

  get nLayers(): number {
    return this.source.config.nLayers;
  }

  get dModel(): number {
    return this.source.config.dModel;
  }

  /** Runs a batch to a residual point, by default the last; taps beyond it are not reached. */
  async pass(batch: Batch, to: number = this.endPoint, taps: readonly SiteTap[] = []): Promise<PassResult> {
    return await runPass(this.#segments, this.shape, batch, { to, taps });
  }

  /** Runs a batch to the end of the model, and with `logits` to the logits after each sequence's last token. */
  async passToEnd(batch: Batch, taps: readonly SiteTap[], logits: boolean): Promise<PassResult> {
    return await runPass(this.#segments, this.shape, batch, { to: this.endPoint, taps, logits });
  }

  /** The places that taps name. */
  sites(taps: readonly Tap[]): SiteTap[] {
    return taps.map(({ hook, afterEdits }, i) => ({ site: hookSite(hook, this.source.config, `taps[${i}].hook`), afterEdits: afterEdits ?? false }));
  }

  /** The end of the residual stream. */
  get endPoint(): number {
    return lastPoint(this.nLayers);
  }

  /** Compiles lists of edits, each list once however many sequences share it. */
  editCompiler(): (edits: readonly Edit[] | undefined, nTokens: number) => SequenceEdits | undefined {
    const known = new Map<readonly Edit[], CompiledEdits>();
    return (edits, nTokens) => {
      if (edits === undefined || edits.length === 0) return undefined;
      let compiled = known.get(edits);
      if (compiled === undefined) {
        compiled = compileEdits(edits, this);
        known.set(edits, compiled);
      }
      checkSequence(edits, nTokens);
      return new SequenceEdits(compiled, nTokens);
    };
  }

  sae(name: string): SaeRuntime {
    const sae = this.#saes.get(name);
    if (sae === undefined) throw new InputError("there is no such SAE loaded", { field: "sae", got: name, wanted: [...this.#saes.keys()].join(", ") || "one that was loaded" });
    return sae;
  }

  loadSae(name: string, weights: LoadedSae): SaeInfo {
    if (this.#saes.has(name)) throw new InputError("an SAE of this name is loaded", { field: "sae", got: name, wanted: "another name" });
    const sae = new SaeRuntime(name, weights, this.dModel, this.#encoders);
    this.#saes.set(name, sae);
    return sae.info;
  }

  unloadSae(name: string): void {
    this.#saes.delete(name);
  }

  async close(): Promise<void> {
    await this.#segments.close();
    await this.#encoders.close();
    await this.heads.close();
    await this.loops.close();
  }
}
