/** How features that steer are looked for. */
export interface SuggestSettings {
  /** Features screened at most. */
  readonly maxCandidates: number;
  /** Features looked at before they are ranked as candidates. */
  readonly maxScanned: number;
  /** Features that fire on more than this share of the corpus are left out as dense. */
  readonly mostDense: number;
  /** Features with fewer firings are left out. */
  readonly leastFirings: number;
  /** Strengths tried, as fractions of the residual's norm, ascending. */
  readonly strengths: readonly number[];
  /** Strength, samples and tokens of the screening. */
  readonly screenStrength: number;
  readonly screenSamples: number;
  readonly screenTokens: number;
  readonly temperature: number;
  /** Lift that a feature must reach. */
  readonly leastLift: number;
  /** Nats a token that the steered texts may be worse than the baseline's. */
  readonly mostNllRise: number;
  /** Texts sampled where the request does not say. */
  readonly numSamples: number;
  /** Tokens of a text where the request does not say. */
  readonly maxTokens: number;
  /** Features wanted where the request does not say. */
  readonly numFeatures: number;
  /** Openings tried where the request gives none. */
  readonly prompts: readonly string[];
}

export const suggestDefaults: SuggestSettings = {
  maxCandidates: 60,
  maxScanned: 4096,
  mostDense: 0.02,
  leastFirings: 20,
  strengths: [0.3, 0.4, 0.5],
  screenStrength: 0.4,
  screenSamples: 4,
  screenTokens: 40,
  temperature: 0.7,
  leastLift: 5,
  mostNllRise: 1,
  numSamples: 16,
  maxTokens: 60,
  numFeatures: 5,
  prompts: ["Once upon a time, there was", "One day,", "It was a", "She said that"],
};
