import { createHash } from "node:crypto";
import { create, equals, toBinary } from "@bufbuild/protobuf";
import type { StoreAddress } from "@mistral-sae/activations";
import { corpusFingerprint, openCorpus } from "@mistral-sae/corpus";
import { TrainingConfigSchema, type TrainingConfig } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import type { CreateTrainingRunRequest } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { alreadyExists, requireId, RpcError, Code } from "@mistral-sae/rpc";
import { digestOf, loadSae, requireAdoptable, resolveTrainerConfig } from "@mistral-sae/sae";
import { readyRows } from "../activations/ready-rows.ts";
import type { InferencePeer } from "../peer/inference-peer.ts";
import { corpusSourceOf } from "../wire/corpus-source.ts";
import { checkingConfig } from "./fields.ts";
import { modelFacts } from "./model-facts.ts";
import { resolveConfig, type ConfigDefaults } from "./resolve-config.ts";
import { runName } from "./run-message.ts";
import type { RunFacts, RunRow, RunStore } from "./run-store.ts";
import { trainerOptions, type RowWidths } from "./trainer-config.ts";

/** A run that a request asks for: one that is there, or one to be started. */
export type AskedRun = { readonly kind: "known"; readonly run: RunRow } | { readonly kind: "new"; readonly facts: RunFacts };

/** What the service decides and where it keeps rows. */
export interface RunDefaults extends ConfigDefaults {
  readonly activations: StoreAddress;
}

/** Turns requests into runs, each checked whole before any work. */
export class RunMaker {
  readonly #store: RunStore;
  readonly #defaults: RunDefaults;
  readonly #peerOf: (model: string, signal: AbortSignal) => InferencePeer;

  constructor(store: RunStore, defaults: RunDefaults, peerOf: (model: string, signal: AbortSignal) => InferencePeer) {
    this.#store = store;
    this.#defaults = defaults;
    this.#peerOf = peerOf;
  }

  /**
   * The run of a request. A run is the same when its configuration, model, corpus and starting weights are.
   * @throws RpcError INVALID_ARGUMENT naming the field; ALREADY_EXISTS when the id or request_id belongs to another run.
   */
  async ask(request: CreateTrainingRunRequest, signal: AbortSignal): Promise<AskedRun> {
    const asked = request.config ?? create(TrainingConfigSchema);
    const repeated = request.requestId === "" ? undefined : this.#store.byRequestId(request.requestId);
    if (repeated !== undefined) return { kind: "known", run: requireSameRequest(repeated, asked, request) };
    const id = request.trainingRunId === "" ? undefined : requireId("training_run_id", request.trainingRunId);
    const facts = await this.facts(id, asked, once(), signal);
    const known = this.#store.byId(facts.id);
    if (known === undefined) return { kind: "new", facts };
    if (known.identity !== facts.identity) {
      throw alreadyExists(runName(facts.id), "was made with another configuration, model or corpus: give another training_run_id, or none to have one made");
    }
    return { kind: "known", run: known };
  }

  /**
   * A run, checked whole. What `read` has read for another run of the same request is not read again.
   * @throws RpcError INVALID_ARGUMENT naming the field.
   */
  async facts(id: string | undefined, asked: TrainingConfig, read: Once, signal: AbortSignal): Promise<RunFacts> {
    const ready = asked.activations === "" ? undefined : await readyRows(asked, this.#defaults.activations);
    const model = ready?.facts ?? modelFacts(await read(`model ${asked.model}`, () => this.#peerOf(asked.model, signal).capabilities()), asked.hookName, asked.hookNameOut);
    const config = await resolveConfig(asked, model, this.#defaults);
    const source = corpusSourceOf(config.corpus);
    const corpus = ready?.fingerprint ?? (await read(`corpus ${JSON.stringify(source)}`, () => checkingConfig("corpus.uri", async () => await corpusFingerprint(await openCorpus(source), signal))));
    const evalSource = config.evalCorpus === undefined ? undefined : corpusSourceOf(config.evalCorpus);
    if (evalSource !== undefined) await read(`eval ${JSON.stringify(evalSource)}`, () => checkingConfig("eval_corpus.uri", () => openCorpus(evalSource)));
    const init = config.initFrom === "" ? "" : await checkingConfig("init_from", () => initDigest(config, model, read));
    const identity = createHash("sha256").update(toBinary(TrainingConfigSchema, config)).update(JSON.stringify([model.digest, corpus, init])).digest("hex");
    return { id: id ?? `sae-${identity.slice(0, 12)}`, identity, asked, config, model, corpus };
  }
}

/** Reads something, or gives what was read under the same key before. */
export type Once = <T>(key: string, read: () => Promise<T>) => Promise<T>;

/** Remembers what is read for one request. */
export function once(): Once {
  const known = new Map<string, Promise<unknown>>();
  return async <T>(key: string, read: () => Promise<T>): Promise<T> => {
    const found = known.get(key) ?? read();
    known.set(key, found);
    return (await found) as T;
  };
}

function requireSameRequest(run: RunRow, asked: TrainingConfig, request: CreateTrainingRunRequest): RunRow {
  const sameId = request.trainingRunId === "" || request.trainingRunId === run.id;
  if (sameId && equals(TrainingConfigSchema, run.asked, asked)) return run;
  throw new RpcError(Code.AlreadyExists, `request_id "${request.requestId}" has started ${runName(run.id)} with another request: use a new request_id`, {
    reason: "REQUEST_ID_REUSED",
    metadata: { trainingRun: runName(run.id) },
  });
}

/** The digest of the SAE to start from, checked whole. */
async function initDigest(config: TrainingConfig, widths: RowWidths, read: Once): Promise<string> {
  const { sae, source } = await read(`sae ${config.initFrom}`, () => loadSae(config.initFrom));
  requireAdoptable(resolveTrainerConfig(trainerOptions(config, widths)), sae);
  return await digestOf(source);
}
