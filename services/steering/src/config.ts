import { InputError } from "@mistral-sae/tensor";
import { type SuggestSettings, suggestDefaults } from "./suggest/suggest-settings.ts";

/** Settings of the steering service. */
export interface SteeringConfig {
  /** host:port; port 0 takes a free one. */
  readonly listen: string;
  /** Folder that this service owns. */
  readonly data: string;
  /** host:port of the inference service. */
  readonly inference: string;
  /** host:port of the feature-index service. */
  readonly featureIndex: string;
  /** How features that steer are looked for. */
  readonly suggest: SuggestSettings;
}

export const steeringDefaults: SteeringConfig = {
  listen: "127.0.0.1:50055",
  data: ".mistral-sae/steering",
  inference: "127.0.0.1:50051",
  featureIndex: "127.0.0.1:50053",
  suggest: suggestDefaults,
};

type Environment = Readonly<Record<string, string | undefined>>;

/** Settings from the environment. Throws InputError naming the variable. */
export function readConfig(env: Environment): SteeringConfig {
  return {
    listen: env["MISTRAL_SAE_LISTEN"] ?? steeringDefaults.listen,
    data: env["MISTRAL_SAE_DATA"] ?? steeringDefaults.data,
    inference: env["MISTRAL_SAE_INFERENCE"] ?? steeringDefaults.inference,
    featureIndex: env["MISTRAL_SAE_FEATURE_INDEX"] ?? steeringDefaults.featureIndex,
    suggest: {
      ...suggestDefaults,
      maxCandidates: positive(env, "MISTRAL_SAE_STEERING_MAX_CANDIDATES", suggestDefaults.maxCandidates),
      leastLift: positive(env, "MISTRAL_SAE_STEERING_LEAST_LIFT", suggestDefaults.leastLift),
      mostNllRise: positive(env, "MISTRAL_SAE_STEERING_MOST_NLL_RISE", suggestDefaults.mostNllRise),
    },
  };
}

function positive(env: Environment, name: string, fallback: number): number {
  const text = env[name] ?? "";
  const value = text === "" ? fallback : Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new InputError(`${name} cannot be used`, { field: name, got: text, wanted: "a number above 0" });
  return value;
}
