import { InputError } from "@mistral-sae/tensor";
import type { DecodeRow, StepResult } from "../engine.ts";
import { makeBatch } from "../runtime/batch.ts";
import type { ModelRuntime } from "../runtime/model-runtime.ts";
import { settleCache } from "../runtime/pass.ts";
import type { StepReport } from "../worker/protocol.ts";
import { chooseNext } from "./choose.ts";
import { Observer } from "./observer.ts";
import type { Slot } from "./slot.ts";
import type { Slots } from "./slots.ts";

/** One decoding step of several slots, those that have ended left out if so asked: one batch for each group of like capacities. */
export async function decodeStep(runtime: ModelRuntime, slots: Slots, rows: readonly DecodeRow[], report: StepReport): Promise<StepResult> {
  const members = checkRows(runtime, slots, rows);
  const klFrom = rows.map(({ klFrom: base }, i) => (base === undefined ? undefined : indexOfSlot(rows, base, i)));
  const observer = new Observer(runtime, report, rows.length);
  const { dVocab } = runtime.source.config;
  const fed = rows.map((row, i) => row.token ?? members[i]!.pending);
  const indexOf = new Map(members.map((slot, i) => [slot.cache, i]));
  const logits = members.map((): Float32Array | undefined => undefined);
  const running = report.skipEnded ? members.filter((slot, i) => rows[i]?.token !== undefined || !slot.ended) : members;
  for (const group of runtime.cache.group(running.map((slot) => slot.cache))) {
    const order = group.rows.map((cache) => indexOf.get(cache)!);
    const batch = makeBatch(
      order.map((i) => ({ tokens: Uint32Array.of(fed[i]!), past: members[i]!.cache.length, edits: members[i]!.edits })),
      { kind: "rows", arena: group.arena, first: 0, rows: group.rows },
    );
    const { resid, taps, logits: chosenFrom } = await runtime.passToEnd(batch, observer.sites, true);
    settleCache(batch);
    for (const [b, i] of order.entries()) {
      members[i]!.push(fed[i]!);
      members[i]!.last.set(resid.subarray(b * runtime.dModel, (b + 1) * runtime.dModel));
      logits[i] = chosenFrom?.subarray(b * dVocab, (b + 1) * dVocab);
    }
    await observer.take(taps, order.map((row, b) => ({ row, at: b, count: 1 })));
  }
  const ran = running === members ? undefined : new Set(running);
  const edited = Uint8Array.from(members, (slot) => (ran?.has(slot) === false ? 0 : (slot.edits?.editedAt(slot.cache.length - 1) ?? 0)));
  const endedBy = Int32Array.from(members, (slot) => slot.edits?.endedBy ?? -1);
  return { ...(await chooseNext(runtime, members, logits, klFrom, report.withLogits, ran)), edited, endedBy, ...observer.result() };
}

/** The slots of a step. Throws InputError for one that is unknown, named twice or full. */
export function checkRows(runtime: ModelRuntime, slots: Slots, rows: readonly DecodeRow[]): Slot[] {
  const { nCtx, config } = runtime.source;
  const seen = new Set<Slot>();
  return rows.map(({ slot: id, token }, i) => {
    const slot = slots.get(id, `rows[${i}].slot`);
    if (seen.has(slot)) throw new InputError("a slot is named twice in one step", { field: `rows[${i}].slot`, got: id, wanted: "each slot once" });
    seen.add(slot);
    if (slot.cache.length >= nCtx) throw new InputError("the slot's context is full", { field: `rows[${i}].slot`, got: `${slot.cache.length + 1} tokens`, wanted: `at most ${nCtx} tokens` });
    if (token !== undefined && token >= config.dVocab) throw new InputError("a token id lies outside the vocabulary", { field: `rows[${i}].token`, got: token, wanted: `below ${config.dVocab}` });
    return slot;
  });
}

function indexOfSlot(rows: readonly DecodeRow[], slot: number, row: number): number {
  const index = rows.findIndex((other) => other.slot === slot);
  if (index < 0) throw new InputError("a row is compared with a slot that is not in the step", { field: `rows[${row}].klFrom`, got: slot, wanted: "a slot of the same call" });
  return index;
}
