import { fromBinary } from "@bufbuild/protobuf";
import { createClient } from "@mistral-sae/rpc";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { type SteeringSuggestion, SteeringService, SteeringSuggestionsSchema } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import type { Output } from "../output.ts";
import { type DemoOptions, requestIdOf } from "./demo-options.ts";
import { operationBars } from "./operation-bars.ts";
import type { SteeringReport } from "./report.ts";
import { finished, whileAway } from "./watching.ts";

/** The features that steer, measured. */
export interface Steered {
  readonly steering: readonly SteeringReport[];
  readonly seconds: number;
}

/** Finds features that steer well and measures each. */
export async function steerStage(
  address: string,
  options: DemoOptions,
  sae: string,
  index: string,
  output: Output,
  signal: AbortSignal,
): Promise<Steered> {
  const service = createClient(SteeringService, address);
  const request = { sae, numFeatures: options.steeringFeatures, seed: BigInt(options.seed) };
  const requestId = requestIdOf({ ...request, index, stage: "steer" });
  const started = await whileAway(signal, () => service.suggestSteering({ ...request, requestId }, { signal }));
  const bars = operationBars(output, "steer");
  const operation = await finished(createClient(OperationService, address), started.operation, signal, bars.show).finally(bars.end);
  if (operation.result.case !== "response") throw new Error(`${operation.name}: got no suggestions, wanted SteeringSuggestions`);
  const { suggestions } = fromBinary(SteeringSuggestionsSchema, operation.result.value.value);
  const seconds = Object.values(operation.progress?.stageSeconds ?? {}).reduce((sum, s) => sum + s, 0);
  return { steering: suggestions.map(reportOf), seconds };
}

function reportOf(suggestion: SteeringSuggestion): SteeringReport {
  return {
    feature: suggestion.feature?.featureIndex ?? 0,
    explanation: suggestion.description,
    concept_words: suggestion.conceptWords,
    strength: suggestion.strength,
    prompt: suggestion.prompt,
    baseline: suggestion.baselineText,
    steered: suggestion.steeredText,
    applied_steps: Number(suggestion.appliedSteps),
    expected_steps: Number(suggestion.expectedSteps),
    lift: suggestion.lift,
    baseline_nll: suggestion.baselineNll,
    steered_nll: suggestion.steeredNll,
  };
}
