import { clearField, clone } from "@bufbuild/protobuf";
import { type Sae, SaeSchema, SaeState } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { alreadyExists, failedPrecondition, invalidArgument, notFound, parseName, toRpcError, unavailable } from "@mistral-sae/rpc";
import type { Catalogue, SaeRecord } from "../catalogue/catalogue.ts";
import type { SaeTarget } from "../interventions/resolve.ts";
import type { LoadedModel } from "../models/loaded-model.ts";
import type { ModelRegistry } from "../models/model-registry.ts";
import { readSaeFolder } from "./sae-folder.ts";

export const SAE_NAME = "models/{model}/saes/{sae}";

interface Entry {
  record: SaeRecord;
  state: SaeState;
  detail: string;
  /** The last load or unload under way. */
  busy: Promise<unknown>;
}

/**
 * The SAEs registered here, and which of them are loaded. What is registered is kept in the catalogue and loaded
 * again with its model.
 */
export class SaeRegistry {
  readonly #catalogue: Catalogue;
  readonly #models: ModelRegistry;
  readonly #entries = new Map<string, Entry>();
  #starting = true;

  constructor(catalogue: Catalogue, models: ModelRegistry) {
    this.#catalogue = catalogue;
    this.#models = models;
    for (const record of catalogue.saes()) this.#entries.set(record.sae.name, entryOf(record));
  }

  /** SAEs of a model, or of all for "", by name. */
  list(parent: string): Sae[] {
    if (parent !== "") parseName("models/{model}", parent, "parent");
    return [...this.#entries.values()]
      .map((entry) => this.#message(entry))
      .filter(({ name }) => parent === "" || name.startsWith(`${parent}/`))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** @throws INVALID_ARGUMENT for a bad name, NOT_FOUND for an unknown one. */
  get(name: string, field = "name"): Sae {
    return this.#message(this.#entry(name, field));
  }

  /** Names of the READY SAEs of a model. */
  ready(model: string): string[] {
    return this.list(model)
      .filter(({ state }) => state === SaeState.READY)
      .map(({ name }) => name);
  }

  /** A READY SAE of a model. @throws NOT_FOUND, FAILED_PRECONDITION SAE_NOT_LOADED or SAE_MISMATCH, UNAVAILABLE SAE_LOADING. */
  use(field: string, name: string, model: LoadedModel): SaeTarget {
    const entry = this.#entry(name, field);
    const { record, detail } = entry;
    const state = this.#stateOf(entry);
    if (!name.startsWith(`${model.name}/`)) {
      throw failedPrecondition("SAE_MISMATCH", `${field}: ${name} belongs to another model than ${model.name}`);
    }
    if (state === SaeState.LOADING) throw unavailable("SAE_LOADING", `${field}: ${name} is being loaded`);
    if (state !== SaeState.READY) {
      throw failedPrecondition("SAE_NOT_LOADED", `${field}: ${name} is not loaded${detail === "" ? "; call LoadSae" : `: ${detail}`}`);
    }
    return { engineName: name, hookName: record.sae.hookName, dSae: record.sae.dSae };
  }

  /** A READY SAE and the model it belongs to. */
  useWithModel(field: string, name: string): { readonly model: LoadedModel; readonly sae: SaeTarget; readonly entry: Sae } {
    const entry = this.get(name, field);
    const model = this.#models.use(modelOf(name), field);
    return { model, sae: this.use(field, name, model), entry };
  }

  /** The operation that registered an SAE, if there is such an SAE. */
  operationOf(name: string): string | undefined {
    return this.#entries.get(name)?.record.operation;
  }

  /** Keeps a new SAE that the engine has loaded. @throws ALREADY_EXISTS. */
  add(sae: Sae, operation: string): Sae {
    if (this.#entries.has(sae.name)) throw alreadyExists(sae.name);
    const entry: Entry = { ...entryOf({ sae, wanted: true, operation }), state: SaeState.READY };
    this.#catalogue.putSae(entry.record);
    this.#entries.set(sae.name, entry);
    return this.#message(entry);
  }

  /** Changes an entry. */
  change(name: string, change: (sae: Sae) => Sae): Sae {
    const entry = this.#entry(name, "sae.name");
    this.#keep(entry, { ...entry.record, sae: change(clone(SaeSchema, entry.record.sae)) });
    return this.#message(entry);
  }

  /** Forgets an SAE. @throws FAILED_PRECONDITION SAE_LOADED unless forced. */
  async delete(name: string, force: boolean): Promise<void> {
    const entry = this.#entry(name, "name");
    if (entry.state === SaeState.READY || entry.state === SaeState.LOADING) {
      if (!force) throw failedPrecondition("SAE_LOADED", `${name} is loaded; unload it first, or set force`);
      await this.unload(name);
    }
    this.#catalogue.deleteSae(name);
    this.#entries.delete(name);
  }

  /** Loads a registered SAE; one that is loaded stays as it is. */
  async load(name: string, signal?: AbortSignal): Promise<Sae> {
    const entry = this.#entry(name, "name");
    const model = this.#models.use(modelOf(name), "name");
    await this.#oneByOne(entry, () => this.#load(entry, model, signal));
    return this.#message(entry);
  }

  /** Frees an SAE; it stays registered. */
  async unload(name: string): Promise<Sae> {
    const entry = this.#entry(name, "name");
    await this.#oneByOne(entry, async () => {
      if (entry.state === SaeState.READY) await this.#models.use(modelOf(name), "name").engine.unloadSae(name);
      setState(entry, SaeState.COLD);
      this.#keep(entry, { ...entry.record, wanted: false });
    });
    return this.#message(entry);
  }

  /** Loads what is wanted of a model that has just been opened; one that fails says so in its state. */
  async modelLoaded(model: LoadedModel): Promise<void> {
    for (const entry of this.#entries.values()) {
      if (!entry.record.wanted || !entry.record.sae.name.startsWith(`${model.name}/`)) continue;
      await this.#oneByOne(entry, () => this.#load(entry, model)).catch(() => undefined);
    }
  }

  /** All models that this service starts with have been opened, or have failed. */
  started(): void {
    this.#starting = false;
  }

  /** A model can no longer be used. */
  modelGone(model: string): void {
    for (const entry of this.#entries.values()) if (entry.record.sae.name.startsWith(`${model}/`)) setState(entry, SaeState.COLD);
  }

  async #load(entry: Entry, model: LoadedModel, signal?: AbortSignal): Promise<void> {
    if (entry.state === SaeState.READY) return;
    const { sae } = entry.record;
    setState(entry, SaeState.LOADING);
    try {
      const folder = await readSaeFolder(sae.uri, signal);
      if (folder.digest !== sae.digest) {
        throw failedPrecondition("SAE_CHANGED", `${sae.uri} has changed since ${sae.name} was registered: its digest is ${folder.digest}, wanted ${sae.digest}`);
      }
      await model.engine.loadSae(sae.name, folder.weights);
      setState(entry, SaeState.READY);
      this.#keep(entry, { ...entry.record, wanted: true });
    } catch (error) {
      setState(entry, SaeState.FAILED, toRpcError(error).message);
      throw error;
    }
  }

  /** An SAE that is loaded with its model, without being asked for, is on its way when the model is: callers come again. */
  #stateOf({ state, record }: Entry): SaeState {
    if (state !== SaeState.COLD || !record.wanted) return state;
    return this.#starting || this.#models.isLoading(modelOf(record.sae.name)) ? SaeState.LOADING : state;
  }

  #message(entry: Entry): Sae {
    return { ...clone(SaeSchema, entry.record.sae), state: this.#stateOf(entry), stateDetail: entry.detail };
  }

  #oneByOne<T>(entry: Entry, work: () => Promise<T>): Promise<T> {
    const result = entry.busy.then(work, work);
    entry.busy = result.catch(() => undefined);
    return result;
  }

  #keep(entry: Entry, record: SaeRecord): void {
    if (this.#entries.get(record.sae.name) !== entry) return;
    entry.record = record;
    this.#catalogue.putSae(record);
  }

  #entry(name: string, field: string): Entry {
    parseName(SAE_NAME, name, field);
    const entry = this.#entries.get(name);
    if (entry === undefined) throw notFound(name);
    return entry;
  }
}

function entryOf(record: SaeRecord): Entry {
  return { record, state: SaeState.COLD, detail: "", busy: Promise.resolve() };
}

function setState(entry: Entry, state: SaeState, detail = ""): void {
  entry.state = state;
  entry.detail = detail;
}

/** models/{model} of models/{model}/saes/{sae}. */
export function modelOf(name: string): string {
  return `models/${parseName(SAE_NAME, name, "name").model}`;
}

/** Fields that UpdateSae may change. */
export function applyUpdate(sae: Sae, from: Sae, fields: readonly string[]): Sae {
  const changed = clone(SaeSchema, sae);
  for (const field of fields) {
    if (field === "hook_name") {
      // What was measured belongs to the hook it was measured at.
      if (changed.hookName !== from.hookName) {
        clearField(changed, SaeSchema.field.validation);
        clearField(changed, SaeSchema.field.residNormMean);
      }
      changed.hookName = from.hookName;
    } else if (field === "hook_override_reason") changed.hookOverrideReason = from.hookOverrideReason;
    else throw invalidArgument("update_fields", `got ${JSON.stringify(field)}, wanted hook_name or hook_override_reason`);
  }
  return changed;
}
