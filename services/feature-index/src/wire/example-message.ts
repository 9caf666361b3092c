import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TokenSequenceSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import { type ActivationExampleSchema, ActivationGroup } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { internal } from "@mistral-sae/rpc";
import type { StoredWindow } from "../serving/windows.ts";

/** A firing with all of the feature's firings in its window. */
export interface WindowFiring {
  readonly sequence: number;
  /** Index in the window of the token that it was chosen for. */
  readonly token: number;
  /** Tokens of the window where the feature fires, ascending, and how strongly. */
  readonly pos: readonly number[];
  readonly acts: readonly number[];
}

/** The stratum that an example stands for. */
export interface ExampleBin {
  readonly group: ActivationGroup;
  /** 0 the highest. */
  readonly bin: number;
  readonly min: number;
  readonly max: number;
  /** Share of the firings. */
  readonly contains: number;
}

/** Tokens shown around the one that the example was chosen for. */
export interface Context {
  readonly before: number;
  readonly after: number;
}

export const defaultContext: Context = { before: 32, after: 32 };

export const topBin: ExampleBin = { group: ActivationGroup.TOP, bin: 0, min: 0, max: 0, contains: 0 };

/**
 * An example as the contract says it. The context ends where the window does: what lies beyond was not read by the model
 * when it gave these activations. The window's BOS is left out, unless the example is about it.
 */
export function exampleMessage(firing: WindowFiring, window: StoredWindow | undefined, texts: readonly string[], context: Context, bin: ExampleBin): MessageInitShape<typeof ActivationExampleSchema> {
  if (window === undefined) throw internal("WINDOW_MISSING", `window ${firing.sequence} of the corpus is not stored`);
  const { token } = firing;
  const special = new Set(window.special);
  const first = special.has(0) && token !== 0 ? 1 : 0;
  const start = Math.max(first, token - context.before);
  const end = Math.min(window.tokens.length, token + context.after + 1);
  let tokenStart = window.tokenStart;
  for (let i = 0; i < start; i++) tokenStart += Number(!special.has(i));
  const shown = firing.pos.map((at, i) => ({ at: at - start, act: firing.acts[i] as number })).filter(({ at }) => at >= 0 && at < end - start);
  return {
    docId: BigInt(window.doc),
    sequenceId: BigInt(window.sequence),
    tokenStart,
    tokens: sequenceMessage(window.tokens.slice(start, end), window.special.filter((i) => i >= start && i < end).map((i) => i - start), texts),
    positions: shown.map(({ at }) => at),
    values: shown.map(({ act }) => act),
    maxActivation: shown.reduce((most, { act }) => Math.max(most, act), 0),
    qualifyingTokenIndex: token - start,
    binMin: bin.min,
    binMax: bin.max,
    binContains: bin.contains,
    group: bin.group,
    dataSource: window.source,
    documentMetadata: window.metadata,
    bin: bin.bin,
  };
}

/** Ids with their texts and the marks of the special ones. */
export function sequenceMessage(tokenIds: readonly number[], special: readonly number[], texts: readonly string[]): MessageInitShape<typeof TokenSequenceSchema> {
  const isSpecial = new Uint8Array(Math.ceil(tokenIds.length / 8));
  for (const i of special) isSpecial[i >> 3]! |= 1 << (i & 7);
  return { tokenIds: [...tokenIds], strTokens: tokenIds.map((id) => texts[id] ?? ""), isSpecial };
}
