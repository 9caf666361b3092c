import { STORED_NORMALIZATIONS, type LoadSaeOptions, type StoredNormalization } from "@mistral-sae/sae";
import { Option, type Command } from "commander";
import { decimal, integer } from "../command.ts";

/** Adds what a file may leave open to a verb that loads an SAE from disk. */
export function withLoadOptions(command: Command): Command {
  return command
    .option("--scaling-factor <s>", "factor of expected_average_only_in, when the folder does not hold it", decimal())
    .addOption(new Option("--normalize-activations <kind>", "input normalisation that wins over the file's").choices(STORED_NORMALIZATIONS))
    .option("--k <n>", "features a row, for formats that do not store it", integer({ min: 1 }))
    .option("--dict-class <name>", "dictionary_learning's class, when no config.json says it");
}

/** Those options as commander gives them. */
export interface LoadOptions {
  readonly scalingFactor?: number;
  readonly normalizeActivations?: StoredNormalization;
  readonly k?: number;
  readonly dictClass?: string;
}

export function loadOptionsOf({ scalingFactor, normalizeActivations, k, dictClass }: LoadOptions): LoadSaeOptions {
  return { scalingFactor, normalizeActivations, k, dictClass };
}
