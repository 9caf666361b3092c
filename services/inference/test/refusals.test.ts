import { Code, type RpcError } from "@mistral-sae/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type InterventionSchema, SteeringMethod as M, StrengthUnit } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { ChatRole } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import { type GenerateRequestSchema, Reduction } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { generate } from "./support/generate.ts";
import { direction, ids, text } from "./support/messages.ts";
import { MODEL, removeData, startService, type TestService } from "./support/service.ts";

const prompt = text("Once upon a time");
const ones = direction(new Float32Array(192).fill(1));

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(async () => {
  await service.stop();
  await removeData(service);
});

async function refusal(call: Promise<unknown>): Promise<RpcError> {
  return call.then(
    () => {
      throw new Error("the call was not refused");
    },
    (error: unknown) => error as RpcError,
  );
}

type Request = MessageInitShape<typeof GenerateRequestSchema>;
const steer = (intervention: MessageInitShape<typeof InterventionSchema>): Request => ({
  prompt,
  sampling: { maxTokens: 4 },
  variants: [{ variantId: "v", interventions: [intervention] }],
});

describe("a request that cannot be met is refused, naming field, what was got and what was wanted:", () => {
  const at = "variants[0].interventions[0]";
  const cases: [string, Request, Code, string, RegExp][] = [
    ["no prompt", {}, Code.InvalidArgument, "", /^prompt: is not set/],
    ["an empty list of ids", { prompt: ids([]) }, Code.InvalidArgument, "", /prompt.tokens.token_ids/],
    ["an id beyond the vocabulary", { prompt: ids([1, 4096]) }, Code.InvalidArgument, "TOKEN_OUT_OF_VOCAB", /token_ids\[1\]: got 4096, wanted less than 4096/],
    ["a prompt longer than the context", { prompt: ids(Array.from({ length: 513 }, () => 5)) }, Code.InvalidArgument, "TOKEN_LIMIT", /got 513 tokens, wanted at most 512/],
    ["a text longer than the context", { prompt: text("story ".repeat(2000)) }, Code.InvalidArgument, "TOKEN_LIMIT", /prompt.text: got \d+ (tokens|characters)/],
    ["more tokens than fit", { prompt, sampling: { maxTokens: 600 } }, Code.InvalidArgument, "TOKEN_LIMIT", /max_tokens: got 600 after a prompt of 5, wanted at most 507/],
    ["a top_p of 0", { prompt, sampling: { topP: 0 } }, Code.InvalidArgument, "", /sampling.top_p: got 0, wanted more than 0/],
    ["a temperature that is no number", { prompt, sampling: { temperature: Number.NaN } }, Code.InvalidArgument, "VALUE_NOT_FINITE", /sampling.temperature: got NaN/],
    ["too many logprobs", { prompt, sampling: { nLogprobs: 21 } }, Code.InvalidArgument, "", /n_logprobs: got 21, wanted at most 20/],
    ["BOS before ids", { prompt: { ...ids([5]), prependBos: true } }, Code.InvalidArgument, "", /prompt.prepend_bos/],
    ["two variants of one name", { prompt, variants: [{ variantId: "a" }, { variantId: "a" }] }, Code.InvalidArgument, "", /variants\[1\].variant_id: got "a" twice/],
    ["an unknown model", { model: "models/other", prompt }, Code.NotFound, "RESOURCE_NOT_FOUND", /models\/other/],
    ["a hook that does not exist", { prompt, captures: [{ hookName: "blocks.9.hook_resid_pre" }] }, Code.InvalidArgument, "HOOK_UNKNOWN", /captures\[0\].hook_name.*L from 0 to 3/],
    ["a hook that cannot be written", steer({ target: direction([1], "blocks.1.attn.hook_z"), method: M.ADD, strength: 1 }), Code.FailedPrecondition, "HOOK_NOT_WRITABLE", /attn.hook_z/],
    ["no method", steer({ target: ones }), Code.InvalidArgument, "", new RegExp(`${at}.method: got 0, wanted one of ADD`.replaceAll(/[[\]]/g, "\\$&"))],
    ["no strength", steer({ target: ones, method: M.ADD }), Code.InvalidArgument, "", /strength: is not set; ADD wants strength/],
    ["a strength that does not apply", steer({ target: ones, method: M.ABLATE, strength: 1 }), Code.InvalidArgument, "STEERING_FIELD_NOT_APPLICABLE", /strength: does not apply to ABLATE/],
    ["a schedule that does not apply", steer({ target: ones, method: M.PROJECTION_CAP, max: 1, schedule: { schedule: { case: "decay", value: { halfLife: 2 } } } }), Code.InvalidArgument, "STEERING_FIELD_NOT_APPLICABLE", /schedule: does not apply to PROJECTION_CAP/],
    ["a strength that is no number", steer({ target: ones, method: M.ADD, strength: Number.NaN }), Code.InvalidArgument, "VALUE_NOT_FINITE", /strength: got NaN/],
    ["a vector of another width", steer({ target: direction([1, 2]), method: M.ADD, strength: 1 }), Code.InvalidArgument, "TENSOR_SIZE_MISMATCH", /vector.shape: got \[2\], wanted \[192\]/],
    ["a vector with NaN", steer({ target: direction(new Float32Array(192).fill(Number.NaN)), method: M.ADD, strength: 1 }), Code.InvalidArgument, "VALUE_NOT_FINITE", /vector: got NaN at element 0/],
    ["a vector of zeros", steer({ target: direction(new Float32Array(192)), method: M.ADD, strength: 1 }), Code.InvalidArgument, "DIRECTION_ZERO", /zeros/],
    ["a multiple of an unknown maximum", steer({ target: ones, method: M.ADD, strength: 1, unit: StrengthUnit.MAX_ACTIVATION }), Code.FailedPrecondition, "MAX_ACTIVATION_UNKNOWN", /steering service/],
    ["a fraction where it has no meaning", steer({ target: ones, method: M.ORTHOGONAL, strength: 2, unit: StrengthUnit.RESID_NORM_FRACTION }), Code.InvalidArgument, "STEERING_FIELD_NOT_APPLICABLE", /unit/],
    ["a preset", steer({ target: { case: "preset", value: "steeringPresets/x" }, method: M.ADD, strength: 1 }), Code.InvalidArgument, "", /presets are resolved by the steering service/],
    ["an SAE that is not registered", steer({ target: { case: "feature", value: { sae: `${MODEL}/saes/none`, featureIndex: 0 } }, method: M.FEATURE_SET, strength: 1 }), Code.NotFound, "RESOURCE_NOT_FOUND", /saes\/none/],
    ["a position beyond the prompt", steer({ target: ones, method: M.ADD, strength: 1, positions: { include: { promptPositions: [5] } } }), Code.InvalidArgument, "POSITION_OUT_OF_RANGE", /got 5, wanted -5 to 4/],
    ["a selector that matches nothing", steer({ target: ones, method: M.ADD, strength: 1, positions: { include: { tokenIds: [] } } }), Code.InvalidArgument, "SELECTOR_EMPTY", /positions: selects no position/],
    ["only BOS, which is skipped", steer({ target: ones, method: M.ADD, strength: 1, positions: { include: { promptPositions: [0] } } }), Code.InvalidArgument, "SELECTOR_EMPTY", /special tokens are skipped/],
    ["roles of a plain text", steer({ target: ones, method: M.ADD, strength: 1, positions: { include: { roles: [ChatRole.USER] } } }), Code.InvalidArgument, "STEERING_FIELD_NOT_APPLICABLE", /roles need a prompt given as chat/],
    ["a condition without a feature", steer({ target: ones, method: M.ADD, strength: 1, conditions: [{ threshold: 1 }] }), Code.InvalidArgument, "", /conditions\[0\].feature: is not set/],
    ["a condition on an SAE that is not there", steer({ target: ones, method: M.ADD, strength: 1, conditions: [{ feature: { sae: `${MODEL}/saes/none` }, threshold: 1 }] }), Code.NotFound, "RESOURCE_NOT_FOUND", /saes\/none/],
    ["a strength of 0", steer({ target: ones, method: M.ADD, strength: 0 }), Code.InvalidArgument, "STEERING_NO_EFFECT", /strength: got 0, at which ADD changes nothing/],
    ["a fraction of 0", steer({ target: ones, method: M.ADD, strength: -0, unit: StrengthUnit.RESID_NORM_FRACTION }), Code.InvalidArgument, "STEERING_NO_EFFECT", /strength/],
    ["a scale of 1", steer({ target: ones, method: M.ORTHOGONAL, strength: 1 }), Code.InvalidArgument, "STEERING_NO_EFFECT", /strength: got 1, at which ORTHOGONAL changes nothing/],
    ["a swap with itself", steer({ target: ones, method: M.SWAP, swapTarget: ones.value }), Code.InvalidArgument, "STEERING_NO_EFFECT", /swap_target: got the direction itself/],
    ["a schedule of nothing", steer({ target: ones, method: M.ADD, strength: 1, schedule: { schedule: { case: "values", value: { factors: [0, 0] } } } }), Code.InvalidArgument, "STEERING_NO_EFFECT", /schedule: got the factor 0 at every position/],
    [
      "two edits of one direction",
      { prompt, variants: [{ variantId: "v", interventions: [{ id: "a", target: ones, method: M.ADD, strength: 1 }, { id: "b", target: ones, method: M.ABLATE }] }] },
      Code.InvalidArgument,
      "CONFLICTING_INTERVENTIONS",
      /"b" and "a" edit the same thing/,
    ],
  ];
  it.each(cases)("%s", async (_, request, code, reason, message) => {
    const error = await refusal(generate(service, request));
    expect(error.message).toMatch(message);
    expect(error.code).toBe(code);
    expect(error.reason).toMatch(reason === "" ? /./ : new RegExp(`^${reason}$`));
    expect(error.violations.length > 0).toBe(code === Code.InvalidArgument);
  });

  it("a Forward without hooks", async () => {
    const call = service.inference.forward({ prompts: [prompt] })[Symbol.asyncIterator]().next();
    expect((await refusal(call)).message).toMatch(/hook_names: got none/);
  });

  it("a Forward whose edit lies behind all that it reads", async () => {
    const interventions = [{ target: direction(new Float32Array(192).fill(1), "blocks.2.hook_resid_post"), method: M.ADD, strength: 1 }];
    const call = service.inference.forward({ prompts: [prompt], hookNames: ["blocks.0.hook_resid_pre", "blocks.2.hook_resid_pre"], interventions })[Symbol.asyncIterator]().next();
    const error = await refusal(call);
    expect(error.message).toMatch(/interventions\[0\]: edits blocks.2.hook_resid_post, which lies behind every hook asked for/);
    expect(error.reason).toBe("STEERING_NO_EFFECT");
  });

  it("a reduction that does not exist", async () => {
    const call = service.inference.forward({ prompts: [prompt], hookNames: ["blocks.0.hook_resid_pre"], reduction: 9 as Reduction })[Symbol.asyncIterator]().next();
    expect((await refusal(call)).message).toMatch(/reduction: got 9/);
  });

  it("whole rows of logits beyond what an answer holds", async () => {
    const long = ids(Array.from({ length: 300 }, () => 5));
    const error = await refusal(service.inference.getLogits({ prompt: long, positions: Array.from({ length: 300 }, (_, i) => i) }));
    expect(error.message).toMatch(/positions: got 300, wanted at most 192 whole rows/);
  });
});
