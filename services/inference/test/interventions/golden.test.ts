import { fromJson } from "@bufbuild/protobuf";
import { InterventionSchema, type Intervention } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { demoModelDir } from "@mistral-sae/demo-model";
import { type Engine, type LoadedSae, openEngine } from "@mistral-sae/model";
import { openSafetensors } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { placeInterventions } from "../../src/interventions/placed.ts";
import { type ResolveContext, resolveInterventions } from "../../src/interventions/resolve.ts";
import type { Prompt, ROLE_NUMBERS } from "../../src/wire/prompt.ts";
import { type GoldenCase, goldenSae, readGoldenInterventions, withVectors } from "../support/golden-interventions.ts";

/** Largest difference from the independent implementation, relative to the largest logit of the row. */
const TOLERANCE = 1e-4;

const golden = readGoldenInterventions();
const { cases, head } = golden;
const logits = await openSafetensors(golden.tensors);
const expected: Float32Array[] = [];
for (const i of cases.keys()) expected.push(await logits.readF32(`c${i}`));
await logits.close();

const isSpecial = new Uint8Array(Math.ceil(head.prompt.length / 8));
for (const [i, id] of head.prompt.entries()) if (head.special_ids.includes(id)) isSpecial[i >> 3] = (isSpecial[i >> 3] ?? 0) | (1 << (i & 7));
const prompt: Prompt = {
  ids: Uint32Array.from(head.prompt),
  isSpecial,
  spans: head.spans.map(({ role, start, end }) => ({ role: role.replace("CHAT_ROLE_", "").toLowerCase() as keyof typeof ROLE_NUMBERS, start, end })),
};

describe("interventions against an independent implementation", () => {
  let engine: Engine;
  let context: ResolveContext;
  beforeAll(async () => {
    engine = await openEngine({ modelDir: demoModelDir, threads: 1 });
    const { dModel } = engine.info;
    const loaded = new Map<string, { sae: LoadedSae; hookName: string }>();
    for (const [name, spec] of Object.entries(head.saes)) loaded.set(`models/demo/saes/${name}`, { sae: goldenSae(spec, dModel), hookName: spec.hook });
    for (const [name, { sae }] of loaded) await engine.loadSae(name, sae);
    context = {
      info: engine.info,
      sae: (_, name) => ({ engineName: name, hookName: loaded.get(name)?.hookName ?? "", dSae: loaded.get(name)?.sae.dSae ?? 0 }),
    };
  });
  afterAll(async () => {
    await engine.close();
  });

  function edits({ interventions }: GoldenCase, maxTokens: number) {
    const messages = interventions.map((json): Intervention => fromJson(InterventionSchema, withVectors(json, engine.info.dModel)));
    return placeInterventions(resolveInterventions("interventions", messages, context), prompt, { specialIds: head.special_ids, maxTokens }).map(({ edit }) => edit);
  }

  /** Largest difference of a row of logits from row `row` of a case. */
  function difference(row: Float32Array, index: number, at: number): number {
    const width = head.sampled.length + 1;
    const wanted = (expected[index] as Float32Array).subarray(at * width, (at + 1) * width);
    const size = wanted[width - 1] as number;
    let most = 0;
    for (const [i, id] of head.sampled.entries()) most = Math.max(most, Math.abs((row[id] as number) - (wanted[i] as number)) / size);
    return most;
  }

  it("is of every method, selector, schedule and condition, alone and together", () => {
    expect(cases.length).toBeGreaterThan(140);
  });

  it.each(cases.map((one, i) => [one.name, one, i] as const))("%s", async (_, one, index) => {
    const placed = edits(one, head.max_tokens);
    const { dVocab } = engine.info;
    const started = await engine.prefill([{ tokens: prompt.ids, edits: placed }], { withLogits: true });
    let last = difference(started.logits, index, head.prompt_rows.length - 1);
    let endedBy = started.endedBy[0] ?? -1;
    for (const [t, token] of one.tokens.entries()) {
      expect(endedBy).toBe(-1);
      const step = await engine.decode(started.slots.map((slot) => ({ slot, token })), { withLogits: true });
      last = Math.max(last, difference(step.logits, index, head.prompt_rows.length + t));
      endedBy = step.endedBy[0] ?? -1;
    }
    expect(last).toBeLessThan(TOLERANCE);
    expect(placed[endedBy]?.id ?? "").toBe(one.ended_by);
    const [slot = 0] = started.slots;
    expect((await engine.proofs(slot)).map((proof) => ({ prompt_rows: proof.promptRows, steps: proof.steps, off_prompt_rows: proof.offPromptRows, off_steps: proof.offSteps }))).toEqual(one.proofs);
    await engine.free(started.slots);
    const whole = await engine.logits({ tokens: prompt.ids, edits: placed }, { positions: head.prompt_rows });
    for (const at of head.prompt_rows.keys()) expect(difference(whole.logits.subarray(at * dVocab, (at + 1) * dVocab), index, at)).toBeLessThan(TOLERANCE);
  });

  it("is the same with every case in one batch, each row with its own edits", async () => {
    const most = engine.info.maxBatchRows;
    for (let start = 0; start < cases.length; start += most) {
      const part = cases.slice(start, start + most);
      const { slots } = await engine.prefill(part.map((one, i) => ({ tokens: prompt.ids, edits: edits(one, head.max_tokens), ...(i === 0 ? {} : { reuse: { row: 0 } }) })));
      for (let t = 0; t < head.max_tokens; t++) {
        const rows = part.flatMap(({ tokens }, i) => (t < tokens.length ? [{ i, slot: slots[i] ?? 0, token: tokens[t] ?? 0 }] : []));
        const step = await engine.decode(rows.map(({ slot, token }) => ({ slot, token })), { withLogits: true });
        for (const [r, { i }] of rows.entries()) {
          const row = step.logits.subarray(r * engine.info.dVocab, (r + 1) * engine.info.dVocab);
          expect(difference(row, start + i, head.prompt_rows.length + t), part[i]?.name).toBeLessThan(TOLERANCE);
        }
      }
      for (const [i, slot] of slots.entries()) expect((await engine.proofs(slot)).map(({ steps }) => steps)).toEqual(part[i]?.proofs.map(({ steps }) => steps));
      await engine.free(slots);
    }
  });
});
