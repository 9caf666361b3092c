import { create } from "@bufbuild/protobuf";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { OperationService, type Operation } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { EncodeRequestSchema, SaeService, SaeState, ValidationPolicy, type EncodeRequest, type Sae } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { Code, createClient, fromStatus, internal, toRpcError, type Client } from "@mistral-sae/rpc";
import { unpackSparse, type SparseRows } from "@mistral-sae/tensor";
import { sequenceOf, type Sequence } from "./inference-peer.ts";
import { patiently, type Patience } from "./patience.ts";

/** The calls to the SAE registry, which lives beside the model. */
export class SaePeer {
  readonly #saes: Client<typeof SaeService>;
  readonly #operations: Client<typeof OperationService>;
  readonly #patience: Patience;

  constructor(address: string, patience: Patience) {
    this.#saes = createClient(SaeService, address);
    this.#operations = createClient(OperationService, address);
    this.#patience = patience;
  }

  /** The SAE, loaded. @throws RpcError NOT_FOUND when it is not registered. */
  async load(name: string): Promise<Sae> {
    const { sae } = await this.#ask((signal) => this.#saes.loadSae({ name }, { signal }));
    if (sae?.state !== SaeState.READY) throw internal("SAE_NOT_READY", `${name} was loaded and is not READY: ${sae?.stateDetail ?? ""}`);
    return sae;
  }

  /**
   * Registers a folder under a name of ours and loads it. An SAE that bears the name already is kept when it is
   * the same one (by digest) and replaced otherwise: the name belongs to the run.
   */
  async register(parent: string, saeId: string, uri: string, digest: string): Promise<Sae> {
    const name = `${parent}/saes/${saeId}`;
    const known = await this.#find(name);
    if (known !== undefined && known.digest === digest) return await this.load(name);
    if (known !== undefined) await this.#ask((signal) => this.#saes.deleteSae({ name, force: true }, { signal }));
    // The run's own evaluation judges the fit, on more tokens than the registry would.
    const request = { parent, saeId, uri, validate: ValidationPolicy.SKIP };
    await this.#ask(async (signal) => {
      try {
        const { operation } = await this.#saes.createSae(request, { signal });
        await this.#finished(operation, signal);
      } catch (error) {
        if (toRpcError(error).code !== Code.AlreadyExists) throw error;
      }
    });
    return await this.load(name);
  }

  /** Feature activations of sequences, all rows of each, in their order; F32 values. */
  async encode(sae: string, sequences: readonly Sequence[]): Promise<SparseRows> {
    const request = create(EncodeRequestSchema, { sae, input: { case: "sequences", value: { sequences: sequences.map(sequenceOf) } }, activationDtype: DataType.F32 });
    return await this.#ask(async (signal) => {
      let rows: SparseRows | undefined;
      for await (const { code } of this.#saes.encode(once(request), { signal })) {
        if (code !== undefined) rows = unpackSparse({ ...code, rowOffsets: code.rowOffsets });
      }
      const wanted = sequences.reduce((sum, { ids }) => sum + ids.length, 0);
      if (rows?.nTokens !== wanted) throw internal("SHORT_REPLY", `Encode replied with ${rows?.nTokens ?? 0} of ${wanted} rows`);
      return rows;
    });
  }

  async #find(name: string): Promise<Sae | undefined> {
    try {
      return (await this.#ask((signal) => this.#saes.getSae({ name }, { signal }))).sae;
    } catch (error) {
      if (toRpcError(error).code === Code.NotFound) return undefined;
      throw error;
    }
  }

  async #finished(operation: Operation | undefined, signal: AbortSignal): Promise<void> {
    let last = operation;
    if (last === undefined) throw internal("NO_OPERATION", "CreateSae replied without an operation");
    while (!last.done) {
      const { operation: next } = await this.#operations.waitOperation({ name: last.name, timeout: { seconds: 10n, nanos: 0 } }, { signal });
      last = next ?? last;
    }
    if (last.result.case === "error") throw fromStatus(last.result.value);
  }

  async #ask<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return await patiently(this.#patience, () => call(this.#patience.signal));
  }
}

async function* once(request: EncodeRequest): AsyncIterable<EncodeRequest> {
  yield request;
}
