import { PLACE_BYTES } from "@mistral-sae/activations";
import type { TrainingConfig } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import { invalidArgument } from "@mistral-sae/rpc";
import { DTYPE_BYTES, type FloatDType } from "@mistral-sae/tensor";
import type { ModelFacts } from "../runs/model-facts.ts";

/** Shards that the shuffle buffer of a stream holds at least: two groups of two. */
const LEAST_SHARDS = 4;
/** Batches, likewise: the trainer looks at a quarter of the buffer before its first step. */
const LEAST_BATCHES = 4;
/** Without a buffer of its own a stream begins after about this part of its rows. */
const FIRST_GROUP = 1 / 16;

/**
 * Decides and checks how a run that trains while it harvests buffers its rows. `most` are the rows that fit the
 * memory for a buffer.
 * @throws RpcError INVALID_ARGUMENT naming the field, with the numbers.
 */
export function resolveStream(config: TrainingConfig, model: ModelFacts, dtype: FloatDType, shardTokens: number, most: bigint): void {
  if (config.activationDiskBytes > 0n) config.streamActivations = true;
  if (!config.streamActivations) {
    config.bufferTokens ||= most;
    return;
  }
  const least = BigInt(Math.max(LEAST_SHARDS * shardTokens, LEAST_BATCHES * config.trainBatchSizeTokens));
  const rowBytes = [model, ...(model.out === undefined ? [] : [model.out])].reduce((sum, { width }) => sum + width * DTYPE_BYTES[dtype] + PLACE_BYTES, 0);
  // Groups are half the buffer and, for a long document, a shard more.
  const bytesOf = (bufferTokens: bigint): bigint => (bufferTokens + 2n * BigInt(shardTokens)) * BigInt(rowBytes);
  const budget = config.activationDiskBytes;
  if (budget > 0n && budget < bytesOf(least)) {
    throw invalidArgument("config.activation_disk_bytes", `got ${budget}, wanted at least ${bytesOf(least)}: two groups of half the smallest buffer of ${least} rows, ${rowBytes} bytes each, and a shard of ${shardTokens} rows more for each`);
  }
  if (config.bufferTokens === 0n) {
    const early = BigInt(Math.ceil(Number(config.trainingTokens) * 2 * FIRST_GROUP));
    const fitting = budget === 0n ? most : budget / BigInt(rowBytes) - 2n * BigInt(shardTokens);
    config.bufferTokens = bigMax(least, bigMin(most, bigMin(early, fitting)));
  }
  if (config.bufferTokens < least) throw invalidArgument("config.buffer_tokens", `got ${config.bufferTokens}, wanted at least ${least} to stream shards of ${shardTokens} rows and batches of ${config.trainBatchSizeTokens}`);
  if (budget > 0n && budget < bytesOf(config.bufferTokens)) {
    throw invalidArgument("config.activation_disk_bytes", `got ${budget}, wanted at least ${bytesOf(config.bufferTokens)} for a buffer_tokens of ${config.bufferTokens}, or fewer buffer_tokens`);
  }
}

function bigMin(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function bigMax(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
