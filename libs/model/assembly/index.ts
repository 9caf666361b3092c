import { quantiseBlock4, quantiseBlock8 } from "./blocks";
import { widenRow } from "./widen";

/**
 * Quantises `n` rows of `k` stored values each. A row is widened to f32 at `row`, `blocks · blockSize` values of which
 * those after `k` are zero. Values go to `values`, one scale a block to `scales`. With `dHead` > 0 the rows of each head
 * come as pairs [dHead / 2, 2] and leave as [2, dHead / 2]. Returns the first row that holds a value that is not
 * finite, or -1. `type`: 0 f32, 1 f16, 2 bf16.
 */
export function quantise(source: usize, type: i32, n: i32, k: i32, dHead: i32, bits: i32, blockSize: i32, levels: usize, levelCount: i32, row: usize, values: usize, scales: usize): i32 {
  const width: usize = type == 0 ? 4 : 2;
  const blocks = (k + blockSize - 1) / blockSize;
  const blockBytes = <usize>blockSize << 2;
  memory.fill(row, 0, <usize>blocks * blockBytes);
  for (let i = 0; i < n; i++) {
    widenRow(source + <usize>sourceRow(i, dHead) * <usize>k * width, type, row, k);
    for (let block = 0; block < blocks; block++) {
      const x = row + <usize>block * blockBytes;
      const scale = bits == 8 ? quantiseBlock8(x, blockBytes, values) : quantiseBlock4(x, blockBytes, levels, levelCount, values);
      if (!isFinite(scale)) return i;
      store<f32>(scales, scale);
      scales += 4;
      values += bits == 8 ? <usize>blockSize : <usize>blockSize >> 1;
    }
  }
  return -1;
}

function sourceRow(i: i32, dHead: i32): i32 {
  if (dHead == 0) return i;
  const within = i % dHead;
  const half = dHead >> 1;
  return i - within + (within < half ? within << 1 : ((within - half) << 1) + 1);
}
