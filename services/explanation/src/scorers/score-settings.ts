import { create } from "@bufbuild/protobuf";
import { NonActivatingSource, type ScoreConfig, ScoreConfigSchema, ScoreType } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { invalidArgument, unimplemented } from "@mistral-sae/rpc";
import { type Scorer, scorers } from "./scorer.ts";

/** Settings of scoring with nothing left open. */
export interface ScoreSettings {
  readonly config: ScoreConfig;
  readonly scorers: readonly Scorer[];
}

/** Throws INVALID_ARGUMENT for values out of range, UNIMPLEMENTED for scorers and sources that are not offered. */
export function resolveScoreConfig(given: ScoreConfig = create(ScoreConfigSchema)): ScoreSettings {
  const types = given.scoreTypes.length === 0 ? [ScoreType.DETECTION] : given.scoreTypes;
  const chosen = types.map((type) => {
    const scorer = scorers.find((known) => known.type === type);
    if (scorer === undefined) throw unimplemented(`score type ${type} is not offered here; ListScoreTypes says which are`);
    return scorer;
  });
  const source = given.nonActivating || NonActivatingSource.RANDOM;
  if (source !== NonActivatingSource.RANDOM) throw unimplemented(`config.non_activating ${source} is not offered here; RANDOM is`);
  const config = create(ScoreConfigSchema, {
    scoreTypes: types,
    clientId: given.clientId,
    scoreModel: given.scoreModel,
    nTest: given.nTest || 50,
    nNonActivating: given.nNonActivating || 50,
    nonActivating: source,
    examplesPerPrompt: given.examplesPerPrompt || 5,
    seed: given.seed,
    randomControl: given.randomControl ?? true,
    maxConcurrency: given.maxConcurrency || 4,
  });
  for (const [field, value] of [["n_test", config.nTest], ["n_non_activating", config.nNonActivating]] as const) {
    if (value > 1000) throw invalidArgument(`config.${field}`, `got ${value}, wanted 1 to 1000`);
  }
  if (config.examplesPerPrompt > 100) throw invalidArgument("config.examples_per_prompt", `got ${config.examplesPerPrompt}, wanted 1 to 100`);
  return { config, scorers: chosen };
}
