import { BatchWriter, type HybridTrainer, Random } from "@mistral-sae/sae";
import type { ActivationFiles } from "./activation-files.ts";

/** Fills batches from files, pass after pass; a batch may reach over the end of a pass. */
export interface RowFeed {
  fill(slot: number): Promise<void>;
}

/** Rows read at once. */
const blockRows = 4096;

/** Rows in file order, from the start again after the last. */
export function orderedFeed(files: ActivationFiles, trainer: HybridTrainer): RowFeed {
  const { dIn } = files;
  const batch = trainer.config.trainBatchSizeTokens;
  let next = 0;
  return {
    async fill(slot) {
      const target = trainer.slot(slot);
      for (let filled = 0; filled < batch; ) {
        const count = Math.min(batch - filled, files.rows - next);
        const rows = await files.readF32(next, next + count);
        for (let row = 0; row < count; row++) target.set(rows.subarray(row * dIn, (row + 1) * dIn), (filled + row) * trainer.rowStride);
        filled += count;
        next = (next + count) % files.rows;
      }
    },
  };
}

/**
 * Rows in a seeded random order: blocks of neighbours come into the trainer's row store in random order, and rows leave it in
 * random order. When the store holds all rows that is a full shuffle of every pass.
 */
export function shuffledFeed(files: ActivationFiles, trainer: HybridTrainer): RowFeed {
  const writer = new BatchWriter(trainer.shared);
  const random = new Random(trainer.config.seed);
  const rowBytes = writer.bytesOf(files.dtype, 1);
  const capacity = Math.floor(writer.rowStore.byteLength / rowBytes);
  const whole = capacity >= files.rows;
  const blockCount = Math.ceil(files.rows / blockRows);
  let blocks = new Uint32Array(0);
  let nextBlock = 0;
  let picks = new Uint32Array(0);
  let held = 0;
  let used = 0;

  const load = async (block: number): Promise<void> => {
    const start = block * blockRows;
    const end = Math.min(files.rows, start + blockRows);
    await files.readBytes(start, end, writer.rowStore.subarray(held * rowBytes, (held + end - start) * rowBytes));
    held += end - start;
  };
  /** Takes in blocks until the store or the pass is full: no row comes twice before all came once. */
  const takeBlocks = async (): Promise<void> => {
    if (nextBlock === blocks.length) {
      blocks = permutation(blockCount, random);
      nextBlock = 0;
    }
    held = 0;
    const room = whole ? blockCount : Math.floor(capacity / blockRows);
    for (const block of blocks.subarray(nextBlock, nextBlock + room)) await load(block);
    nextBlock = Math.min(blocks.length, nextBlock + room);
  };
  const refill = async (): Promise<void> => {
    if (!whole || held === 0) await takeBlocks();
    picks = permutation(held, random);
    used = 0;
  };
  return {
    async fill(slot) {
      for (let filled = 0; filled < writer.batchRows; ) {
        if (used === held) await refill();
        const count = Math.min(writer.batchRows - filled, held - used);
        writer.write(slot, filled, { dtype: files.dtype, offset: 0, count: held }, picks.subarray(used, used + count));
        filled += count;
        used += count;
      }
    },
  };
}

/** Bytes of row store that shuffle at best: all rows, or as many as `most` bytes hold, at least two blocks. */
export function rowStoreBytes(files: ActivationFiles, most: number, bufferTokens: number | undefined): number {
  const rowBytes = files.dIn * (files.dtype === "F32" ? 4 : 2);
  const wanted = bufferTokens === undefined ? files.rows : Math.min(files.rows, Math.max(bufferTokens, 2 * blockRows));
  return Math.min(wanted, Math.max(2 * blockRows, Math.floor(most / rowBytes))) * rowBytes;
}

/** A Fisher-Yates permutation of 0 to n - 1. */
function permutation(n: number, random: Random): Uint32Array<ArrayBuffer> {
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(random.uniform(0, i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}
