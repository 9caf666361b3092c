import { create } from "@bufbuild/protobuf";
import { type ExplainConfig, ExplainConfigSchema, SamplerType } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { invalidArgument } from "@mistral-sae/rpc";

/** The method that needs no language model. */
export const localSummaryType = "local_summary";
/** The method taken where an endpoint is configured and none is named. */
export const defaultLlmType = "eleuther_acts_top20";

/** What the contract says of unset fields. */
const defaults = {
  temperature: 0,
  maxTokens: 500,
  maxConcurrency: 4,
  nTrain: 40,
  sampler: SamplerType.QUANTILES,
  nQuantiles: 10,
  ratioTop: 0.2,
  exampleCtxLen: 32,
  minExamples: 1,
  threshold: 0.3,
} as const;

/** What a method takes instead where a field is unset. */
const methodDefaults: Readonly<Record<string, Partial<ExplainConfig>>> = {
  eleuther_acts_top20: { nTrain: 20, sampler: SamplerType.TOP },
  "np_max-act-logits": { nTrain: 10, sampler: SamplerType.TOP },
  "oai_token-act-pair": { nTrain: 10, sampler: SamplerType.TOP },
};

/** Settings of an explanation with nothing left open; client and model are still empty where the default is meant. */
export function resolveExplainConfig(config: ExplainConfig | undefined, hasEndpoint: boolean): ExplainConfig {
  const given = config ?? create(ExplainConfigSchema);
  const explanationType = given.explanationType === "" ? (hasEndpoint ? defaultLlmType : localSummaryType) : given.explanationType;
  const own = { ...defaults, ...methodDefaults[explanationType] };
  const resolved = create(ExplainConfigSchema, {
    explanationType,
    clientId: given.clientId,
    explanationModel: given.explanationModel,
    temperature: given.temperature ?? own.temperature,
    seed: given.seed,
    maxTokens: given.maxTokens || own.maxTokens,
    maxConcurrency: given.maxConcurrency || own.maxConcurrency,
    nTrain: given.nTrain || own.nTrain,
    sampler: given.sampler || own.sampler,
    nQuantiles: given.nQuantiles || own.nQuantiles,
    ratioTop: given.ratioTop ?? own.ratioTop,
    exampleCtxLen: given.exampleCtxLen || own.exampleCtxLen,
    minExamples: given.minExamples || own.minExamples,
    threshold: given.threshold ?? own.threshold,
  });
  check("temperature", resolved.temperature, 0, 2);
  check("ratio_top", resolved.ratioTop, 0, 1);
  check("threshold", resolved.threshold, 0, 1);
  check("n_train", resolved.nTrain, 1, 1000);
  check("example_ctx_len", resolved.exampleCtxLen, 1, 1024);
  check("max_concurrency", resolved.maxConcurrency, 1, 256);
  return resolved;
}

function check(field: string, value: number | undefined, least: number, most: number): void {
  if (value === undefined || !(value >= least && value <= most)) {
    throw invalidArgument(`config.${field}`, `got ${value}, wanted ${least} to ${most}`);
  }
}
