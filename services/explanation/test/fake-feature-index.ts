import { create } from "@bufbuild/protobuf";
import { type ActivationExample, ActivationExampleSchema, ActivationGroup, type Feature, FeatureSchema, FeatureView } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { type ExplanationEntry, FeatureIndexService, IndexState } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { implement, invalidArgument, type RunningServer, startServer } from "@mistral-sae/rpc";

export const sae = "models/demo/saes/l2";

/** A feature index with made-up features over the real contract. */
export interface FakeIndex {
  readonly server: RunningServer;
  /** Explanations put, by name. */
  readonly published: Map<string, ExplanationEntry>;
  /** Features asked for, with repetitions. */
  readonly read: number[];
  /** Changes the index's identity, as another corpus or other weights would. */
  digest: string;
}

const themes = [
  { firing: " king", before: " the", after: " and", promoted: " queen" },
  { firing: " sea", before: " in the", after: ".", promoted: " swim" },
  { firing: " truck", before: " red", after: " went", promoted: " wheels" },
];

/** `n` features; every 10th never fires. */
export async function startFakeIndex(n: number): Promise<FakeIndex> {
  const published = new Map<string, ExplanationEntry>();
  const read: number[] = [];
  const state = { digest: "d0" };
  const alive = (feature: number): boolean => feature % 10 !== 9;
  const features = (indices: readonly number[], view: FeatureView): Feature[] =>
    indices.map((index) => {
      if (index >= n) throw invalidArgument("feature_indices", `got ${index}, wanted below ${n}`);
      read.push(index);
      return fakeFeature(index, alive(index), view === FeatureView.FULL);
    });
  const server = await startServer({
    listen: "127.0.0.1:0",
    services: [
      implement(FeatureIndexService, {
        listIndexes: async () => ({
          indexes: [{ name: "indexes/i", sae, corpus: "corpora/c", state: IndexState.READY, dSae: n, saeDigest: state.digest, nTokens: 1000n }],
        }),
        listFeatures: async ({ filter, pageSize, pageToken }) => {
          if (filter !== "n_firings > 0") throw invalidArgument("filter", `got ${filter}`);
          const live = Array.from({ length: n }, (_, i) => i).filter(alive);
          const start = pageToken === "" ? 0 : Number(pageToken);
          // Smaller pages than asked for are allowed, and make callers page.
          const page = live.slice(start, start + Math.min(pageSize, 300));
          const next = start + page.length;
          return { features: page.map((featureIndex) => ({ featureIndex })), nextPageToken: next < live.length ? String(next) : "", totalSize: BigInt(live.length) };
        },
        getFeature: async ({ name, view }) => ({ feature: features([Number(name.split("/").at(-1))], view)[0] ?? {} }),
        batchGetFeatures: async ({ featureIndices, view }) => {
          if (featureIndices.length > 128) throw invalidArgument("feature_indices", `got ${featureIndices.length}, wanted at most 128`);
          return { features: features(featureIndices, view) };
        },
        listActivations: async ({ parent, group, pageSize }) => {
          const index = Number(parent.split("/").at(-1));
          return { activations: Array.from({ length: Math.min(pageSize, 60) }, (_, i) => fakeExample(index, i, group)) };
        },
        putExplanations: async ({ entries }) => {
          for (const entry of entries) published.set(entry.summary?.name ?? "", entry);
          return { nStored: entries.length };
        },
        deleteExplanations: async ({ entries }) => ({ nDeleted: entries.filter(({ name }) => published.delete(name)).length }),
      }),
    ],
  });
  return {
    server,
    published,
    read,
    get digest() {
      return state.digest;
    },
    set digest(digest) {
      state.digest = digest;
    },
  };
}

export function fakeFeature(index: number, alive: boolean, full: boolean): Feature {
  const theme = themes[index % themes.length] ?? expectTheme();
  return create(FeatureSchema, {
    name: `${sae}/features/${index}`,
    featureIndex: index,
    nFirings: alive ? 100n : 0n,
    dead: !alive,
    maxActivation: alive ? 8 : 0,
    posLogits: [{ strToken: theme.promoted, logit: 2 }, { strToken: "ish", logit: 1 }],
    negLogits: [{ strToken: " zebra", logit: -2 }],
    topTokens: alive ? [{ strToken: theme.firing, n: 80n, sumActivation: 400 }, { strToken: " other", n: 20n, sumActivation: 100 }] : [],
    examples: full && alive ? Array.from({ length: 5 }, (_, i) => fakeExample(index, i, ActivationGroup.TOP)) : [],
  });
}

/** `<s>`, two words, the words before, the firing token, the word after. */
export function fakeExample(index: number, i: number, group: ActivationGroup): ActivationExample {
  const theme = themes[index % themes.length] ?? expectTheme();
  const silent = group === ActivationGroup.NON_ACTIVATING;
  const strTokens = ["<s>", ` word${i}`, "\n", theme.before, silent ? " nothing" : theme.firing, theme.after];
  const value = silent ? 0 : 8 - (i % 8);
  const offset = silent ? 10_000 : group === ActivationGroup.TOP ? 0 : 100;
  return create(ActivationExampleSchema, {
    sequenceId: BigInt(index * 100_000 + offset + i),
    tokens: { tokenIds: strTokens.map((_, t) => t), strTokens, isSpecial: Uint8Array.of(1) },
    positions: silent ? [] : [4],
    values: silent ? [] : [value],
    maxActivation: value,
    qualifyingTokenIndex: 4,
    bin: i % 10,
    group,
  });
}

function expectTheme(): never {
  throw new Error("there is no theme");
}
