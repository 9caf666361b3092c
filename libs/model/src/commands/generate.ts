import { InputError } from "@mistral-sae/tensor";
import type { PrefillResult } from "../engine.ts";
import { ChunkPacer } from "../generation/chunk-pacer.ts";
import { decodeStep } from "../generation/decode.ts";
import { decodeRun } from "../generation/decode-run.ts";
import { PrefillJob } from "../generation/prefill-job.ts";
import { Slots } from "../generation/slots.ts";
import type { ModelRuntime } from "../runtime/model-runtime.ts";
import { type CommandHandlers, type PackedDecodeRows, unpackDecodeRows } from "../worker/protocol.ts";

/** Commands on slots. */
export function generateCommands(runtime: ModelRuntime): Pick<CommandHandlers, "prefillStart" | "prefillStep" | "prefillCancel" | "decode" | "decodeRun" | "fork" | "free" | "proofs" | "usage"> {
  const slots = new Slots(runtime.cache);
  const jobs = new Map<number, PrefillJob>();
  const pacer = new ChunkPacer();
  let nextJob = 1;
  const advance = async (id: number): Promise<PrefillResult | undefined> => {
    const job = jobs.get(id);
    if (job === undefined) throw new Error(`prefill job ${id} is not under way`);
    try {
      const result = await job.step();
      if (result !== undefined) jobs.delete(id);
      return result;
    } catch (error) {
      jobs.delete(id);
      job.cancel();
      throw error;
    }
  };
  const checkSize = ({ slots: { length } }: PackedDecodeRows): void => {
    const { maxBatchRows } = runtime.limits;
    if (length > maxBatchRows) throw new InputError("too many rows in one step", { field: "rows", got: length, wanted: `at most ${maxBatchRows}` });
  };
  return {
    // The first piece of work belongs to the start: it forks the slots that are reused before anyone can free them.
    async prefillStart({ rows, report, batchTokens }) {
      const job = nextJob++;
      jobs.set(job, new PrefillJob(runtime, slots, rows, report, { batchTokens, pacer }));
      return { job, done: await advance(job) };
    },

    async prefillStep({ job }) {
      return await advance(job);
    },

    async prefillCancel({ job: id }) {
      jobs.get(id)?.cancel();
      jobs.delete(id);
      return await Promise.resolve(undefined);
    },

    async decode({ rows, report }) {
      checkSize(rows);
      const began = performance.now();
      const result = await decodeStep(runtime, slots, unpackDecodeRows(rows), report);
      pacer.decoded(performance.now() - began);
      return result;
    },

    async decodeRun({ rows, steps, report }) {
      checkSize(rows);
      return await decodeRun(runtime, slots, unpackDecodeRows(rows), steps, report);
    },

    async fork({ slot: id }) {
      const slot = slots.get(id);
      const room = Math.min(slot.cache.length + 1, runtime.source.nCtx);
      return await Promise.resolve(slots.add(slot.fork(runtime.cache.fork(slot.cache, slot.cache.length, room))));
    },

    async free({ slots: ids }) {
      slots.free(ids);
      return await Promise.resolve(undefined);
    },

    async proofs({ slot }) {
      return await Promise.resolve(slots.get(slot).edits?.proofs() ?? []);
    },

    async usage() {
      return await Promise.resolve({ slots: slots.size, cacheBytes: runtime.cache.bytes });
    },
  };
}
