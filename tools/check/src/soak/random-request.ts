import type { MessageInitShape } from "@bufbuild/protobuf";
import { type InterventionSchema, SteeringMethod } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import type { GenerateRequest, GenerateRequestSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { Random } from "./random.ts";
import { D_MODEL, D_SAE } from "./random-sae.ts";

/** What happens to a request on its way. */
export interface Fate {
  /** Cancelled after so many events. */
  readonly cancelAfter: number | undefined;
  readonly timeoutMs: number | undefined;
  readonly tenant: string;
}

type RequestFields = Exclude<MessageInitShape<typeof GenerateRequestSchema>, GenerateRequest>;

export interface RandomRequest {
  readonly request: RequestFields;
  readonly fate: Fate;
}

/** Ids below it are ordinary tokens of the demo model; those before the first are special. */
const [FIRST_TOKEN, VOCAB] = [3, 4096];
const LONGEST_PROMPT = 300;
const LONGEST_ANSWER = 60;
const HOOKS = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post", "blocks.2.hook_resid_post"];
const STOPS = [".", " the", "\n", " and", '"', " was", "!"];

/** Beginnings that many prompts have in common. */
export function commonBeginnings(random: Random): number[][] {
  return Array.from({ length: 8 }, () => tokens(random, random.between(20, 150)));
}

/** A request of any kind that the service answers. */
export function randomRequest(random: Random, beginnings: readonly (readonly number[])[], sae: string): RandomRequest {
  const shared = random.chance(0.5) ? random.pick(beginnings).slice(0, random.between(10, 150)) : [];
  const tokenIds = [1, ...shared, ...tokens(random, random.skewed(1, LONGEST_PROMPT - shared.length))];
  const variants = random.chance(0.3) ? random.between(2, 3) : 1;
  const withKl = variants > 1 && random.chance(0.6);
  const request: RequestFields = {
    prompt: { prompt: { case: "tokens", value: { tokenIds } } },
    sampling: sampling(random),
    variants: Array.from({ length: variants }, (_, i) => ({
      variantId: `v${i}`,
      interventions: random.chance(i === 0 ? 0.2 : 0.8) ? Array.from({ length: random.between(1, 2) }, (__, j) => intervention(random, `e${j}`, sae)) : [],
    })),
    withKl,
    ...(random.chance(0.1) ? { trace: { sae, topK: 4 } } : {}),
    ...(random.chance(0.1) ? { captures: [{ hookName: random.pick(HOOKS) }] } : {}),
  };
  return {
    request,
    fate: {
      cancelAfter: random.chance(0.1) ? random.between(0, LONGEST_ANSWER) : undefined,
      timeoutMs: random.chance(0.05) ? random.between(1, 2000) : undefined,
      tenant: random.pick(["a", "b", "c", ""]),
    },
  };
}

function tokens(random: Random, count: number): number[] {
  return Array.from({ length: Math.max(1, count) }, () => random.between(FIRST_TOKEN, VOCAB - 1));
}

function sampling(random: Random): Exclude<RequestFields["sampling"], { readonly $typeName: string } | undefined> {
  return {
    maxTokens: random.skewed(1, LONGEST_ANSWER),
    temperature: random.chance(0.4) ? 0 : 0.5 + random.next(),
    seed: BigInt(random.between(0, 2 ** 31)),
    ignoreEos: random.chance(0.3),
    nLogprobs: random.chance(0.2) ? 5 : 0,
    ...(random.chance(0.3) ? { topK: random.between(1, 100) } : {}),
    ...(random.chance(0.3) ? { topP: 0.5 + random.next() / 2 } : {}),
    ...(random.chance(0.1) ? { minP: random.next() / 10 } : {}),
    ...(random.chance(0.2) ? { repetitionPenalty: 1 + random.next() / 2 } : {}),
    ...(random.chance(0.1) ? { presencePenalty: random.next() } : {}),
    ...(random.chance(0.1) ? { frequencyPenalty: random.next() } : {}),
    ...(random.chance(0.3) ? { stop: [random.pick(STOPS), random.pick(STOPS)] } : {}),
  };
}

function intervention(random: Random, id: string, sae: string): Exclude<MessageInitShape<typeof InterventionSchema>, { readonly $typeName: string }> {
  if (random.chance(0.5)) {
    const method = random.pick([SteeringMethod.FEATURE_ADD, SteeringMethod.FEATURE_SET, SteeringMethod.FEATURE_SCALE]);
    return { id, method, target: { case: "feature", value: { sae, featureIndex: random.between(0, D_SAE - 1) } }, strength: 2 + 6 * random.next() };
  }
  const vector = Float32Array.from({ length: D_MODEL }, () => random.normal() / Math.sqrt(D_MODEL));
  const tensor = { dtype: DataType.F32, shape: [D_MODEL], data: new Uint8Array(vector.buffer) };
  return { id, method: SteeringMethod.ADD, target: { case: "direction", value: { hookName: random.pick(HOOKS), vector: tensor } }, strength: 1 + 5 * random.next() };
}
