import type { BuiltIndex } from "./built-index.ts";
import { summary, timeEach } from "./measure.ts";
import type { FeatureDraw } from "./pages.ts";
import { SAE } from "./peer.ts";
import type { Reading } from "./report.ts";
import { FIRST_WORD, SyntheticText, tokenText } from "./synthetic.ts";

const TEXT_TOKENS = 512;

/** Searches by text, token and logit, and lists; texts and tokens are others each time. */
export async function benchSearches(built: BuiltIndex, draw: FeatureDraw, n: number, seed: number): Promise<Reading[]> {
  const { index, peer, shape } = built;
  const text = new SyntheticText(shape);
  const textOf = (i: number) => {
    const ids: number[] = [];
    for (let doc = 0; ids.length < TEXT_TOKENS - 1; doc++) ids.push(...text.document(1_000_000 + seed + 100 * i + doc));
    return ids.slice(0, TEXT_TOKENS - 1).map((id) => tokenText(id).trim()).join(" ");
  };
  const times: number[] = [];
  for (let i = 0; i < n / 4 + 5; i++) {
    const prompt = { prompt: { case: "text", value: textOf(i) } } as const;
    const encoded = peer.spent.encodeMs;
    const began = performance.now();
    const { matches, tokens } = await index.searchByText({ prompt, saes: [SAE], numResults: 20 });
    const ms = performance.now() - began - (peer.spent.encodeMs - encoded);
    if (tokens?.tokenIds.length !== TEXT_TOKENS || matches.length !== 20) throw new Error(`a text of ${tokens?.tokenIds.length ?? 0} tokens found ${matches.length} features, wanted ${TEXT_TOKENS} and 20`);
    if (i >= 5) times.push(ms);
  }
  const byText = summary("", times);
  const items = Array.from({ length: n >> 1 }, (_, i) => FIRST_WORD + ((seed + i * 31) % (shape.dVocab >> 3)));
  const parent = SAE;
  const byToken = await timeEach("", items, (tokenId) => index.searchByToken({ parent, tokenId, pageSize: 50 }));
  const byLogit = await timeEach("", items, (tokenId) => index.searchByLogit({ parent, tokenId, pageSize: 50 }));
  const filters = items.slice(0, 50).map((_, i) => `frac_nonzero < ${0.001 + i / 1e6} AND max_activation > ${2 + i / 100} AND dead = false`);
  const list = await timeEach("", filters, (filter) => index.listFeatures({ parent, filter, orderBy: "max_activation desc", pageSize: 50 }));
  const batch = await timeEach("", filters, () => index.batchGetFeatures({ parent, featureIndices: draw.light(50) }));
  const both = (name: string, { p50, p95 }: { readonly p50: number; readonly p95: number }, atMost?: number): Reading[] => [
    { name: `${name}, p50`, value: p50, unit: "ms" },
    { name: `${name}, p95`, value: p95, unit: "ms", ...(atMost === undefined ? {} : { atMost }) },
  ];
  return [
    ...both(`features of a text of ${TEXT_TOKENS} tokens, besides its codes`, byText, 50),
    ...both("features of a token, 50", byToken),
    ...both("features that promote a token, 50", byLogit),
    ...both("list by filter and order, 50", list),
    ...both("batch of 50 features", batch),
  ];
}
