/** What a dashboard says of a feature. */
export interface GivenFeature {
  readonly feature: number;
  /** Largest activation; undefined where it is not given. */
  readonly maxActivation: number | undefined;
  readonly fracNonzero: number | undefined;
  /** Middles of the bars of the activation histogram, and their heights. */
  readonly barValues: readonly number[];
  readonly barHeights: readonly number[];
  readonly posStr: readonly string[];
  readonly posValues: readonly number[];
  readonly negStr: readonly string[];
  readonly negValues: readonly number[];
  readonly nearest: readonly number[];
  readonly nearestCosine: readonly number[];
  /** All of it as it came, examples left out. */
  readonly row: Readonly<Record<string, unknown>>;
}

/** A window of tokens with the activations of one feature. */
export interface GivenExample {
  readonly feature: number;
  readonly tokens: readonly string[];
  /** One a token. */
  readonly values: readonly number[];
  /** Interval of activations that it stands for and their share; NaN where not given, and -1, maximum, -1 in the group of the largest. */
  readonly binMin: number;
  readonly binMax: number;
  readonly binContains: number;
  /** Index of the token it was chosen for. */
  readonly token: number;
  /** Data set that it is from. */
  readonly source: string;
  /** All of it as it came, tokens and values left out. */
  readonly row: Readonly<Record<string, unknown>>;
}

/** An explanation of a feature. */
export interface GivenExplanation {
  readonly feature: number;
  readonly row: Readonly<Record<string, unknown>>;
}

/** One thing that a file says. */
export type GivenRow =
  | { readonly kind: "feature"; readonly given: GivenFeature }
  | { readonly kind: "activation"; readonly given: GivenExample }
  | { readonly kind: "explanation"; readonly given: GivenExplanation };

/** A row and where it stands. */
export type PlacedRow = GivenRow & {
  readonly line: number;
  /** What all rows of a folder have in common: the peer's names of model and source. */
  readonly owner: string;
};

/** Index of the first of the largest values; 0 for none. */
export function firstOfLargest(values: readonly number[]): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[best] as number)) best = i;
  return best;
}
