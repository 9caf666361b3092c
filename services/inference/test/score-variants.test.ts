import type { ScoreTokensResponse } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { SteeringMethod } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { Code } from "@mistral-sae/rpc";
import { f32View } from "@mistral-sae/tensor";
import { afterAll, beforeAll, expect, it } from "vitest";
import { direction } from "./support/messages.ts";
import { removeData, startService, type TestService } from "./support/service.ts";

const push = { id: "push", target: direction(Array.from({ length: 192 }, (_, i) => Math.sin(i) / 3)), method: SteeringMethod.ADD, strength: 6 };
const pull = { ...push, id: "pull", strength: -6 };
// Two sequences with the same tokens, one of the same length, one shorter.
const sequences = [[1, 20, 300, 41, 5], [1, 20, 300, 41, 5], [1, 7, 8, 9, 10], [1, 500, 6]].map((tokenIds) => ({ tokenIds }));

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(async () => {
  await service.stop();
  await removeData(service);
});

type Request = Parameters<TestService["inference"]["scoreTokens"]>[0];

async function scored(request: Request): Promise<ScoreTokensResponse[]> {
  const answers: ScoreTokensResponse[] = [];
  for await (const answer of service.inference.scoreTokens({ sequences, withKl: true, ...request })) answers.push(answer);
  return answers;
}

function figures({ logprobs, uneditedLogprobs, kl }: ScoreTokensResponse): number[][] {
  return [logprobs, uneditedLogprobs, kl].map((tensor) => [...f32View(tensor?.data ?? new Uint8Array())]);
}

it("scores sequences under several lots of edits as under each alone", async () => {
  const together = await scored({ variants: [{ variantId: "push", interventions: [push] }, { variantId: "pull", interventions: [pull] }, { variantId: "nothing" }] });
  expect(together).toHaveLength(12);
  for (const [variantId, interventions] of [["push", [push]], ["pull", [pull]], ["nothing", []]] as const) {
    const alone = await scored({ interventions: [...interventions] });
    for (const own of alone) {
      const same = together.filter((answer) => answer.variantId === variantId && answer.sequenceIndex === own.sequenceIndex);
      expect(same).toHaveLength(1);
      for (const [at, values] of figures(own).entries()) {
        for (const [i, value] of values.entries()) expect(figures(same[0] ?? own)[at]?.[i]).toBeCloseTo(value, 4);
      }
    }
  }
  const nothing = together.filter(({ variantId }) => variantId === "nothing");
  for (const answer of nothing) expect(Math.max(...(figures(answer)[2] ?? [1]))).toBeLessThan(1e-6);
});

it.each<[string, Request]>([
  ["interventions", { interventions: [push], variants: [{ variantId: "a" }] }],
  ["variants[1].variant_id", { variants: [{ variantId: "a" }, { variantId: "a" }] }],
  ["variants[0].variant_id", { variants: [{ variantId: "" }] }],
])("names %s when the variants cannot be", async (field, request) => {
  await expect(scored(request)).rejects.toMatchObject({ code: Code.InvalidArgument, violations: [{ field }] });
});
