import { InputError } from "@mistral-sae/tensor";
import type { StoredNormalization } from "./saelens/cfg.ts";
import type { SaeWeights } from "./weights.ts";

/** Formats that can be read. */
export type SaeFormat = "saelens" | "saelens-legacy" | "sparsify" | "dictionary_learning" | "openai" | "mistral-sae";

/** What a file leaves open, or what wins over it. */
export interface LoadSaeOptions {
  /** Factor of expected_average_only_in, when the folder does not hold it. */
  readonly scalingFactor?: number | undefined;
  /** Wins over the file's normalisation. */
  readonly normalizeActivations?: StoredNormalization | undefined;
  /** Features a row, for formats that do not store it. */
  readonly k?: number | undefined;
  /** dictionary_learning's class, when no config.json says it. */
  readonly dictClass?: string | undefined;
}

/** Where an SAE came from. */
export interface SaeSource {
  readonly format: SaeFormat;
  /** The folder or file that was loaded. */
  readonly path: string;
  /** Every file that decided what was loaded. */
  readonly files: readonly string[];
  /** The configuration file, verbatim; "{}" where the format has none. */
  readonly cfgJson: string;
  /** Things that look odd but do not hinder. */
  readonly warnings: readonly string[];
}

export interface LoadedSae {
  readonly sae: SaeWeights;
  readonly source: SaeSource;
}

const OPTION_NAMES: Readonly<Record<keyof LoadSaeOptions, string>> = {
  scalingFactor: "scaling_factor",
  normalizeActivations: "normalize_activations",
  k: "k",
  dictClass: "dict_class",
};

/** Refuses an option that the format at hand has no use for: it would change nothing, and say nothing. */
export function refuseUnusedOptions(options: LoadSaeOptions, used: readonly (keyof LoadSaeOptions)[], format: SaeFormat, path: string): void {
  for (const key of Object.keys(OPTION_NAMES) as (keyof LoadSaeOptions)[]) {
    if (options[key] === undefined || used.includes(key)) continue;
    throw new InputError(`an SAE of the ${format} format takes no such option`, { file: path, field: OPTION_NAMES[key], got: options[key], wanted: "nothing: the file decides" });
  }
}
