import { CacheFullError } from "@mistral-sae/model";
import { SteeringMethod } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { expect, it } from "vitest";
import { generate, idsOf, variantOf } from "./support/generate.ts";
import { expectIdle } from "./support/load.ts";
import { direction, ids } from "./support/messages.ts";
import { type Asked, recordingOpener } from "./support/recorded-engine.ts";
import { removeData, startService } from "./support/service.ts";

const push = { id: "push", target: direction(Array.from({ length: 192 }, (_, i) => Math.cos(i) / 4)), method: SteeringMethod.ADD, strength: 4 };
const request = (n: number) => ({
  prompt: ids([1, ...Array.from({ length: 20 }, (_, i) => 100 * n + i)]),
  sampling: { temperature: 1, seed: BigInt(n), maxTokens: 30, ignoreEos: true, presencePenalty: 0.5 },
  withKl: true,
  variants: [{ variantId: "baseline" }, { variantId: "pushed", interventions: [push] }],
});

it("a generation that is set back for memory goes on where it was, with the text and the proofs it has alone", async () => {
  const record: Asked[] = [];
  let full = false;
  const opener = recordingOpener(record, ({ name, slots }) => {
    if (!full || name !== "decode" || slots.length < 6) return;
    full = false;
    throw new CacheFullError(1, 1, 1);
  });
  const service = await startService({ prefixCache: false }, opener);
  try {
    const told = async (n: number) => {
      const run = await generate(service, request(n));
      return ["baseline", "pushed"].map((id) => {
        const { steps, finished } = variantOf(run, id);
        return { ids: idsOf(variantOf(run, id)), kl: steps.map(({ klFromBaseline }) => klFromBaseline?.toFixed(3)), proofs: finished?.proofs.map(({ promptPositions, appliedSteps }) => [promptPositions, appliedSteps]) };
      });
    };
    const alone = [await told(1), await told(2), await told(3)];
    record.length = 0;
    full = true;
    const together = await Promise.all([told(1), told(2), told(3)]);
    expect(full).toBe(false);
    expect(together).toEqual(alone);
    // Three prompts, and the one that had to be read again with what it had generated.
    const prefills = record.filter(({ name }) => name === "prefill");
    expect(prefills).toHaveLength(4);
    expect(prefills[3]?.lengths[0]).toBeGreaterThanOrEqual(21);
    await expectIdle(service);
  } finally {
    await service.stop();
    await removeData(service);
  }
});

it("a generation that is alone goes on as well where growing would take more than the memory there is", async () => {
  // 2 MiB hold 512 positions: three rows fit, and not the three beside their larger copies.
  const tight = await startService({ cacheMib: 2, prefixCache: false });
  const roomy = await startService({ prefixCache: false });
  try {
    const variants = ["a", "b", "c"].map((variantId) => ({ variantId }));
    const long = { prompt: ids([1, ...Array.from({ length: 50 }, (_, i) => 300 + i)]), sampling: { temperature: 1, seed: 3n, maxTokens: 90, ignoreEos: true }, variants };
    const [got, wanted] = [await generate(tight, long), await generate(roomy, long)];
    for (const { variantId } of variants) expect(idsOf(variantOf(got, variantId))).toEqual(idsOf(variantOf(wanted, variantId)));
    await expectIdle(tight);
  } finally {
    for (const service of [tight, roomy]) {
      await service.stop();
      await removeData(service);
    }
  }
});
