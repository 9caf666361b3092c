const BLOCKS = "▁▂▃▄▅▆▇█";

/** Counts as one line of blocks, on a logarithmic scale; empty bins are blank. */
export function bars(counts: readonly number[]): string {
  const top = Math.log1p(Math.max(1, ...counts));
  return counts.map((count) => (count === 0 ? " " : (BLOCKS[Math.min(7, Math.floor((Math.log1p(count) / top) * 8))] ?? "█"))).join("");
}
