import { create } from "@bufbuild/protobuf";
import { type SaeValidation, SaeValidationSchema } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import type { EngineInfo } from "@mistral-sae/model";
import { siteIndex, siteOf } from "../interventions/hooks.ts";
import type { LoadedModel } from "../models/loaded-model.ts";
import { type HookMeasure, measureHook, type ProbeSequence } from "./measure-hook.ts";
import { probeSequences } from "./probe-text.ts";
import { countPairs } from "./sparse-pairs.ts";

/** Models with no more layers are tried at every site; others beside the configured one. */
const TRY_ALL_LAYERS = 8;

/** The hooks at which an SAE may have been trained: the configured one first, then other residual sites. */
export function candidateHooks(hookName: string, info: EngineInfo): string[] {
  const configured = siteIndex(hookName);
  const sites = new Map<string, string>([[siteOf(hookName), hookName]]);
  for (const hook of info.hooks) {
    const index = siteIndex(hook.hookName);
    if (index === undefined || configured === undefined || !hook.writable) continue;
    // Sites come in half layers; few SAEs are trained in the middle of one.
    const near = index % 2 === configured % 2 && (info.nLayers <= TRY_ALL_LAYERS || Math.abs(index - configured) <= 2);
    if (near && !sites.has(siteOf(hook.hookName))) sites.set(siteOf(hook.hookName), hook.hookName);
  }
  return [...sites.values()];
}

/**
 * Judges whether an SAE belongs to a hook: its reconstruction must explain some of the variance there (FVU below 1),
 * and no other residual site may fit better.
 *
 * @param given tokens to judge by; default text of the model's own.
 */
export async function validateSae(
  model: LoadedModel,
  engineName: string,
  hookName: string,
  given: readonly ProbeSequence[] | undefined,
  signal?: AbortSignal,
): Promise<SaeValidation> {
  const sequences = given ?? (await probeSequences(model, signal)).map((tokens) => ({ tokens, isSpecial: model.tokenizer.vocabulary.specialBits(tokens) }));
  const measures: HookMeasure[] = [];
  for (const hook of candidateHooks(hookName, model.engine.info)) {
    measures.push(await measureHook(model.engine, engineName, hook, sequences, signal));
  }
  const [own, ...others] = measures as [HookMeasure, ...HookMeasure[]];
  const best = others.reduce((least, measure) => (measure.fvu < least.fvu ? measure : least), own);
  const accepted = own.nTokens > 0 && own.fvu < 1 && best === own;
  return create(SaeValidationSchema, {
    hookName,
    fvu: own.fvu,
    l0: await meanPairs(model, engineName, hookName, sequences, signal),
    nTokens: BigInt(own.nTokens),
    candidateFvu: Object.fromEntries(others.map((measure) => [measure.hookName, measure.fvu])),
    accepted,
    verdict: verdictOf(own, best, others),
    residNormMean: own.residNormMean,
  });
}

function verdictOf(own: HookMeasure, best: HookMeasure, others: readonly HookMeasure[]): string {
  const list = [own, ...others].map(({ hookName, fvu }) => `${hookName} ${fvu.toPrecision(3)}`).join(", ");
  if (own.nTokens === 0) return "no token to judge by";
  if (best !== own) return `the SAE fits ${best.hookName} better than ${own.hookName}; FVU: ${list}`;
  if (own.fvu >= 1) return `the SAE explains nothing at ${own.hookName}; FVU: ${list}`;
  return `the SAE fits ${own.hookName} best; FVU: ${list}`;
}

async function meanPairs(model: LoadedModel, sae: string, hook: string, sequences: readonly ProbeSequence[], signal?: AbortSignal): Promise<number> {
  let pairs = 0;
  let rows = 0;
  const options = { hook, ...(signal === undefined ? {} : { signal }) };
  for await (const batch of model.engine.encode(
    sae,
    sequences.map(({ tokens }) => ({ tokens })),
    options,
  )) {
    for (const [i, index] of batch.sequences.entries()) {
      const { isSpecial } = sequences[index] as ProbeSequence;
      const first = batch.offsets[i] ?? 0;
      for (let row = first; row < (batch.offsets[i + 1] ?? 0); row++) {
        const position = row - first;
        if (((isSpecial[position >>> 3] ?? 0) >>> (position & 7)) & 1) continue;
        pairs += countPairs(batch.code, row);
        rows++;
      }
    }
  }
  return rows === 0 ? 0 : pairs / rows;
}
