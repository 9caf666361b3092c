import { setTimeout as sleep } from "node:timers/promises";
import { clone } from "@bufbuild/protobuf";
import { type Model, ModelSchema, ModelState } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import { failedPrecondition, invalidArgument, notFound, parseName, toRpcError, unavailable } from "@mistral-sae/rpc";
import { counter, createLogger } from "@mistral-sae/telemetry";
import type { Catalogue } from "../catalogue/catalogue.ts";
import { type EngineOpener, type LoadedModel, type LoadLimits, openModel, type OpenModelOptions } from "./loaded-model.ts";
import { coldModel, readyModel } from "./model-message.ts";
import { precisionNumber } from "./precision.ts";

interface Entry {
  model: Model;
  /** What it was asked to be loaded at; undefined leaves it to the folder. */
  readonly precision: OpenModelOptions["precision"];
  loaded: LoadedModel | undefined;
  /** Set while it loads. */
  loading: Promise<LoadedModel> | undefined;
  /** When its engine died or could not be started again, in milliseconds; what is long ago is forgotten. */
  deaths: number[];
  /** Ends a wait for the next start. */
  readonly stop: AbortController;
}

/** What wants to know of models that come and go. */
export interface ModelListener {
  /** A model is about to be READY; calls reach it after this resolves. */
  loaded(model: LoadedModel): Promise<void>;
  /** A model can no longer be used. */
  gone(name: string): void;
  /** A model's state is another than before. */
  changed(name: string): void;
}

/** How a model whose engine died is started again. */
export interface RestartLimits {
  /** Deaths in ten minutes after which it is left FAILED. */
  readonly maxRestarts: number;
  /** Wait before the second start, milliseconds, doubled for each further one; the first comes at once. */
  readonly restartDelayMs: number;
}

/** How long a death counts. */
const DEATH_COUNTS_MS = 600_000;
const LONGEST_DELAY_MS = 60_000;

/** The models of this process, by name. */
export class ModelRegistry {
  readonly #entries = new Map<string, Entry>();
  readonly #limits: LoadLimits & RestartLimits;
  readonly #catalogue: Catalogue;
  readonly #openEngine: EngineOpener | undefined;
  readonly #log = createLogger("models");
  listener: ModelListener = { loaded: async () => undefined, gone: () => undefined, changed: () => undefined };

  constructor(catalogue: Catalogue, limits: LoadLimits & RestartLimits, openEngine?: EngineOpener) {
    this.#catalogue = catalogue;
    this.#limits = limits;
    this.#openEngine = openEngine;
  }

  /** All models, by name. */
  list(): Model[] {
    return [...this.#entries.values()].map(({ model }) => clone(ModelSchema, model)).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** @throws INVALID_ARGUMENT for a bad name, NOT_FOUND for an unknown one. */
  get(name: string, field = "name"): Model {
    return clone(ModelSchema, this.#entry(name, field).model);
  }

  /**
   * The loaded model of a request; an empty name means the only one.
   *
   * @throws NOT_FOUND, FAILED_PRECONDITION MODEL_NOT_LOADED, UNAVAILABLE MODEL_LOADING or BACKEND_DOWN.
   */
  use(name: string, field = "model"): LoadedModel {
    const entry = name === "" ? this.#only(field) : this.#entry(name, field);
    if (entry.loaded !== undefined) return entry.loaded;
    const { model } = entry;
    if (model.state === ModelState.LOADING) throw unavailable("MODEL_LOADING", `${model.name} is being loaded${model.stateDetail === "" ? "" : `: ${model.stateDetail}`}`);
    if (model.state === ModelState.FAILED) throw unavailable("BACKEND_DOWN", `${model.name} has failed: ${model.stateDetail}`, 5000);
    throw failedPrecondition("MODEL_NOT_LOADED", `${model.name} is not loaded; call LoadModel`);
  }

  /** Whether a model is being opened, also after its engine died. */
  isLoading(name: string): boolean {
    return this.#entries.get(name)?.model.state === ModelState.LOADING;
  }

  /** Loads a model under an id, or returns it when it is there already; `remember` loads one that could be loaded again after a restart. */
  async load(id: string, uri: string, options: OpenModelOptions & { readonly remember: boolean }): Promise<LoadedModel> {
    const { precision } = options;
    const name = `models/${id}`;
    const before = this.#entries.get(name);
    if (before !== undefined && before.model.uri !== uri && (before.loaded !== undefined || before.loading !== undefined)) {
      throw failedPrecondition("MODEL_IN_USE", `${name} is loaded from ${before.model.uri}; unload it before loading ${uri} under its name`);
    }
    if (before !== undefined && precision !== undefined && (before.loaded?.engine.info.precision ?? before.precision ?? precision) !== precision && (before.loaded !== undefined || before.loading !== undefined)) {
      throw failedPrecondition("MODEL_IN_USE", `${name} is loaded at another precision; unload it before loading it at ${precision}`);
    }
    const remembered = (loaded: LoadedModel): LoadedModel => {
      if (options.remember) this.#catalogue.putModel({ id, uri, precision: precisionNumber(precision) });
      return loaded;
    };
    if (before?.loaded !== undefined) return remembered(before.loaded);
    if (before?.loading !== undefined) return before.loading;
    const entry: Entry = { model: coldModel(name, uri, ModelState.LOADING), precision, loaded: undefined, loading: undefined, deaths: [], stop: new AbortController() };
    this.#entries.set(name, entry);
    this.listener.changed(name);
    entry.loading = this.#open(entry, options)
      .then(remembered)
      .finally(() => {
        entry.loading = undefined;
      });
    return entry.loading;
  }

  /** Frees a model. Generations at work end with UNAVAILABLE. */
  async unload(name: string): Promise<Model> {
    const entry = this.#entry(name, "name");
    entry.stop.abort();
    await entry.loading?.catch(() => undefined);
    this.#catalogue.deleteModel(name.slice("models/".length));
    const { loaded } = entry;
    entry.loaded = undefined;
    entry.model = { ...entry.model, state: ModelState.COLD, stateDetail: "" };
    this.listener.gone(name);
    this.listener.changed(name);
    if (loaded !== undefined) await this.#end(loaded);
    return this.get(name);
  }

  async close(): Promise<void> {
    for (const entry of this.#entries.values()) {
      entry.stop.abort();
      await entry.loading?.catch(() => undefined);
      const { loaded } = entry;
      entry.loaded = undefined;
      if (loaded !== undefined) await this.#end(loaded);
    }
  }

  async #end(loaded: LoadedModel): Promise<void> {
    loaded.scheduler.close(unavailable("MODEL_UNLOADED", `${loaded.name} was unloaded`));
    await loaded.engine.close();
  }

  async #open(entry: Entry, { signal, onQuantise }: OpenModelOptions): Promise<LoadedModel> {
    const { name, uri } = entry.model;
    try {
      const loaded = await openModel(name, uri, this.#limits, this.#openEngine, { precision: entry.precision, signal, onQuantise });
      await this.listener.loaded(loaded);
      entry.loaded = loaded;
      entry.model = readyModel(loaded);
      void loaded.engine.closed.then((error) => this.#died(entry, loaded, error));
      return loaded;
    } catch (error) {
      entry.model = coldModel(name, uri, ModelState.FAILED, toRpcError(error).message);
      throw error;
    } finally {
      this.listener.changed(name);
    }
  }

  /** An engine that ended unasked is started again, and its SAEs with it. */
  #died(entry: Entry, loaded: LoadedModel, error: Error | undefined): void {
    if (entry.loaded !== loaded) return;
    entry.loaded = undefined;
    this.listener.gone(entry.model.name);
    entry.loading = this.#restart(entry, error?.message ?? "the engine has ended").finally(() => {
      entry.loading = undefined;
    });
    // Whoever waits for it hears; nobody has to.
    entry.loading.catch(() => undefined);
  }

  async #restart(entry: Entry, reason: string): Promise<LoadedModel> {
    const { name } = entry.model;
    for (let why = reason; ; ) {
      const now = performance.now();
      entry.deaths = [...entry.deaths.filter((at) => now - at < DEATH_COUNTS_MS), now];
      const { maxRestarts, restartDelayMs } = this.#limits;
      const starts = entry.deaths.length;
      if (starts > maxRestarts) {
        const detail = `the engine ended ${starts} times in ten minutes, the last time because: ${why}; call LoadModel to try again`;
        entry.model = { ...entry.model, state: ModelState.FAILED, stateDetail: detail };
        this.#log.error("model failed", { model: name, detail });
        this.listener.changed(name);
        throw unavailable("BACKEND_DOWN", `${name} has failed: ${detail}`);
      }
      entry.model = { ...entry.model, state: ModelState.LOADING, stateDetail: `${why}; start ${starts} of ${maxRestarts}` };
      this.#log.warn("engine ended", { model: name, reason: why, start: starts, of: maxRestarts });
      counter("mistral_sae.inference.restarts").add(1, { "gen_ai.request.model": name });
      this.listener.changed(name);
      if (starts > 1) await sleep(Math.min(LONGEST_DELAY_MS, restartDelayMs * 2 ** (starts - 2)), undefined, { signal: entry.stop.signal });
      entry.stop.signal.throwIfAborted();
      try {
        return await this.#open(entry, { signal: entry.stop.signal });
      } catch (error) {
        entry.stop.signal.throwIfAborted();
        why = toRpcError(error).message;
      }
    }
  }

  #entry(name: string, field: string): Entry {
    parseName("models/{model}", name, field);
    const entry = this.#entries.get(name);
    if (entry === undefined) throw notFound(name);
    return entry;
  }

  #only(field: string): Entry {
    const inState = (...states: readonly ModelState[]) => [...this.#entries.values()].filter(({ model }) => states.includes(model.state));
    const usable = inState(ModelState.LOADING, ModelState.READY);
    // One that failed is named only where it is all there is: a bad folder must not make the good model ambiguous.
    const [first, second] = usable.length > 0 ? usable : inState(ModelState.FAILED);
    if (first === undefined) throw failedPrecondition("MODEL_NOT_LOADED", "no model is loaded; call LoadModel");
    if (second !== undefined) throw invalidArgument(field, `is empty, wanted one of ${usable.map(({ model }) => model.name).join(", ")}: several models are loaded`);
    return first;
  }
}
