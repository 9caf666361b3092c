const mul0 = 0xd2511f53;
const mul1 = 0xcd9e8d57;
const weyl0 = 0x9e3779b9;
const weyl1 = 0xbb67ae85;
const rounds = 10;

/** High 32 bits of the product of two 32-bit numbers. */
function mulHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 16);
  const cross = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(cross / 0x10000)) >>> 0;
}

/**
 * Number `counter` of the stream of `seed`: uniform in [0, 1), a multiple of 2^-53. Philox4x32-10 (Salmon et al. 2011,
 * "Parallel random numbers: as easy as 1, 2, 3"), key = seed, so that any number of any stream comes without state.
 */
export function uniform(seed: bigint, counter: number): number {
  let key0 = Number(seed & 0xffffffffn);
  let key1 = Number((seed >> 32n) & 0xffffffffn);
  let c0 = counter >>> 0;
  let c1 = Math.floor(counter / 2 ** 32) >>> 0;
  let c2 = 0;
  let c3 = 0;
  for (let round = 0; round < rounds; round++) {
    const high0 = mulHigh(mul0, c0);
    const high1 = mulHigh(mul1, c2);
    const low0 = Math.imul(mul0, c0) >>> 0;
    const low1 = Math.imul(mul1, c2) >>> 0;
    c0 = (high1 ^ c1 ^ key0) >>> 0;
    c1 = low1;
    c2 = (high0 ^ c3 ^ key1) >>> 0;
    c3 = low0;
    key0 = (key0 + weyl0) >>> 0;
    key1 = (key1 + weyl1) >>> 0;
  }
  return ((c0 >>> 5) * 2 ** 26 + (c1 >>> 6)) * 2 ** -53;
}
