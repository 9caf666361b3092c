/** A stream of numbers from a seed (mulberry32): the same on every machine. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** An integer from 0 to below `below`. */
  below(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }
}

/** What is written in place of a value: wrong kinds, bounds, and patterns that hang or abort those who are careless. */
const VALUES: readonly unknown[] = [
  null, true, false, 0, 1, -1, 0.5, 2 ** 31, 2 ** 53, 1e300, "", " ", "x", "<s>", "\u0000", "\ud800", "a".repeat(5000), [], {}, [[]], [null], { type: "Sequence" },
  "(a+)+$", "(?:a*)*b", "(\\s*)*\\S", "[", "(", ")", "\\", "\\p{Nope}", "(?<x>a)", "a{99999}", "a++", "^", "(?:)", "|", "\\s*\\s*\\s*\\s*x", "(a|a)*b", "Unigram", "ByteLevel", "Metaspace", "AAA=", "!!!!", "v7", "v99",
]; // prettier-ignore

/** Replaces, removes or repeats one value somewhere in a JSON value; every level is equally likely to be hit. */
export function mutateJson(value: unknown, random: Random, depth = 0): unknown {
  if (typeof value !== "object" || value === null || random.below(depth === 0 ? 64 : 8) === 0) return mutated(value, random);
  if (Array.isArray(value)) {
    const items = value as readonly unknown[];
    const at = random.below(items.length + 1);
    if (at === items.length) return random.below(2) === 0 ? [...items, random.pick(VALUES)] : [...items, ...items.slice(-1)];
    if (random.below(8) === 0) return items.toSpliced(at, 1);
    return items.with(at, mutateJson(items[at], random, depth + 1));
  }
  const entries = Object.entries(value);
  const at = random.below(entries.length);
  const entry = entries[at];
  if (entry === undefined) return { x: random.pick(VALUES) };
  const [key, inner] = entry;
  const choice = random.below(10);
  if (choice === 0) return Object.fromEntries(entries.toSpliced(at, 1));
  if (choice === 1) return Object.fromEntries(entries.with(at, [`${key}${random.pick(["", "x", "\u2581"])}`, random.pick(entries)[1]]));
  return Object.fromEntries(entries.with(at, [key, mutateJson(inner, random, depth + 1)]));
}

function mutated(value: unknown, random: Random): unknown {
  if (typeof value === "number" && random.below(2) === 0) return random.pick([value + 1, -value, value * 2 ** 20, value - 0.5]);
  if (typeof value === "string" && random.below(2) === 0) {
    const at = random.below(value.length + 1);
    return value.slice(0, at) + random.pick(["", "\u2581", "(", "+", "*", "\\", "\u0000", "\ud83d", "{2,}"]) + value.slice(at + random.below(3));
  }
  return random.pick(VALUES);
}

/** Flips, cuts, repeats or inserts bytes. */
export function mutateBytes(bytes: Uint8Array, random: Random): Uint8Array {
  let changed = Uint8Array.from(bytes);
  for (let n = 1 + random.below(4); n > 0; n--) {
    const at = random.below(changed.length + 1);
    const kind = random.below(6);
    if (kind === 0) changed = changed.slice(0, at);
    else if (kind === 1) changed = joined(changed.subarray(0, at), Uint8Array.from({ length: 1 + random.below(16) }, () => random.below(256)), changed.subarray(at));
    else if (kind === 2) changed = joined(changed.subarray(0, at), changed.subarray(Math.max(0, at - random.below(200))));
    else if (kind === 3) changed.fill(random.pick([0, 0x7f, 0xff]), at, at + 1 + random.below(12));
    else if (at < changed.length) changed[at] = kind === 4 ? changed[at]! ^ (1 << random.below(8)) : random.below(256);
  }
  return changed;
}

function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}
