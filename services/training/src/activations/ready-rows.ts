import { cutAlike, importRows, rowsFingerprint, ShardSet, storedRows, type ImportedRows, type RowSource, type StoreAddress } from "@mistral-sae/activations";
import type { TrainingConfig } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import { invalidArgument, matchName } from "@mistral-sae/rpc";
import type { ModelFacts } from "../runs/model-facts.ts";
import { checkingConfig } from "../runs/fields.ts";

/** Rows that a run reads as they are, without text or model. */
export interface ReadyRows {
  readonly source: RowSource;
  readonly rows: number;
  readonly facts: ModelFacts;
  /** Changes when the files do. */
  readonly fingerprint: string;
}

/** Rows of a shard of files that are read where they lie. */
const SHARD_ROWS = 8192;
/** Shards that the shuffle buffer holds at least. */
const LEAST_SHARDS = 4;

/** What one field names. */
interface Named extends ImportedRows {
  readonly hookName: string;
  readonly model: string;
}

/**
 * The rows that `config.activations`, and for a transcoder `config.activations_out`, name: activationSets/{set}, or
 * files. Outputs belong to the inputs row by row.
 * @throws RpcError INVALID_ARGUMENT naming the field, and the file at fault.
 */
export async function readyRows(config: Pick<TrainingConfig, "activations" | "activationsOut" | "hookName" | "hookNameOut" | "model" | "bufferTokens">, store: StoreAddress): Promise<ReadyRows> {
  const input = await checkingConfig("activations", () => named(config.activations, store));
  const output = config.activationsOut === "" ? undefined : await checkingConfig("activations_out", () => named(config.activationsOut, store));
  const parts = output === undefined ? [input] : [input, output];
  const shardRows = config.bufferTokens === 0n ? SHARD_ROWS : Math.max(1, Math.min(SHARD_ROWS, Math.floor(Number(config.bufferTokens) / LEAST_SHARDS)));
  const columns = await checkingConfig(output === undefined ? "activations" : "activations_out", () => cutAlike(parts, shardRows));
  return {
    source: storedRows(...columns),
    rows: input.rows,
    facts: {
      name: config.model || input.model,
      digest: "",
      nCtx: 0,
      bosTokenId: undefined,
      dModel: input.width,
      hookName: config.hookName || input.hookName,
      width: input.width,
      ...(output === undefined ? {} : { out: { hookName: config.hookNameOut || output.hookName, width: output.width } }),
    },
    fingerprint: await rowsFingerprint(parts.flatMap(({ files }) => files)),
  };
}

/** Folders of the sets that a configuration names. */
export function namedSets({ activations, activationsOut }: Pick<TrainingConfig, "activations" | "activationsOut">): string[] {
  return [activations, activationsOut].flatMap((uri) => matchName("activationSets/{set}", uri)?.set ?? []);
}

async function named(uri: string, store: StoreAddress): Promise<Named> {
  const name = matchName("activationSets/{set}", uri);
  if (name === undefined) return { ...(await importRows(uri)), hookName: "", model: "" };
  const set = await ShardSet.at(store, name.set);
  if (set === undefined) throw invalidArgument("config.activations", `got ${uri}, which does not exist: ListActivationSets tells those that do`);
  const [shards, end] = [await set.finished(), await set.end()];
  const { width, dtype, hookName, documents } = set.source;
  if (shards.length === 0 || (documents === "imported" && shards.length !== end?.shards)) {
    throw invalidArgument("config.activations", `got ${uri}, of which ${shards.length} of ${end?.shards ?? "an unknown number of"} shards are stored, wanted a whole set: import it again`);
  }
  return { files: shards.map((shard) => set.rowFile(shard)), rows: shards.reduce((sum, shard) => sum + shard.rows, 0), width, dtype, hookName, model: set.source.model ?? "" };
}
