/** ln Σ exp(x) of a row. */
export function logSumExp(row: Float32Array): number {
  let most = -Infinity;
  for (let i = 0; i < row.length; i++) if (row[i]! > most) most = row[i]!;
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += Math.exp(row[i]! - most);
  return most + Math.log(sum);
}

/** KL(p ‖ q) in nats of the distributions whose logits are two rows. */
export function divergence(p: Float32Array, q: Float32Array): number {
  const pScale = logSumExp(p);
  const qScale = logSumExp(q);
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    const logP = p[i]! - pScale;
    sum += Math.exp(logP) * (logP - (q[i]! - qScale));
  }
  return Math.max(0, sum);
}

/** Index of the largest value, the first of equals. */
export function argmax(row: Float32Array): number {
  let best = 0;
  for (let i = 1; i < row.length; i++) if (row[i]! > row[best]!) best = i;
  return best;
}
