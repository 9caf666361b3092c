import { topK as largest } from "@mistral-sae/tensor";
import { residualPoint } from "../hooks/hook-name.ts";
import { makeBatch, type Batch } from "../runtime/batch.ts";
import type { ModelRuntime } from "../runtime/model-runtime.ts";
import { logSumExp } from "../sampling/distribution.ts";
import type { CommandHandlers } from "../worker/protocol.ts";
import { proofsOf, unpackSequences } from "./sequences.ts";

/** Commands that run sequences to the logits. */
export function scoreCommands(runtime: ModelRuntime): Pick<CommandHandlers, "score" | "logits"> {
  return {
    async score({ batch: packed, withKl }) {
      const batch = unpackSequences(runtime, packed);
      const { resid } = await runtime.pass(batch);
      const rows = predictingRows(batch, resid, runtime.dModel);
      const base = withKl ? await unedited(runtime, batch) : undefined;
      return { ...(await runtime.heads.score(rows, nextTokens(batch), base)), proofs: proofsOf(batch.edits) };
    },

    async logits({ batch: packed, positions, topK, hook }) {
      const batch = unpackSequences(runtime, packed);
      const point = hook === undefined ? runtime.endPoint : residualPoint(hook, runtime.nLayers, "hook");
      const { resid } = await runtime.pass(batch, point);
      const { dModel } = runtime;
      const { dVocab } = runtime.source.config;
      const n = positions.length;
      const logits = new Float32Array(topK === undefined ? n * dVocab : 0);
      const topIds = new Uint32Array(topK === undefined ? 0 : n * topK);
      const topLogits = new Float32Array(topIds.length);
      const scales = new Float64Array(topK === undefined ? 0 : n);
      const { rowsPerRun } = runtime.heads;
      for (let start = 0; start < n; start += rowsPerRun) {
        const count = Math.min(rowsPerRun, n - start);
        const rows = new Float32Array(count * dModel);
        for (let i = 0; i < count; i++) {
          const at = positions[start + i]! * dModel;
          rows.set(resid.subarray(at, at + dModel), i * dModel);
        }
        const part = await runtime.heads.logits(rows, count);
        if (topK === undefined) logits.set(part, start * dVocab);
        else {
          for (let i = 0; i < count; i++) {
            const row = part.subarray(i * dVocab, (i + 1) * dVocab);
            largest(row, topK, topIds, topLogits, (start + i) * topK);
            scales[start + i] = logSumExp(row);
          }
        }
      }
      return { positions, logits, topIds, topLogits, logSumExp: scales, proofs: proofsOf(batch.edits)[0] ?? [] };
    },
  };
}

/** Predicting rows of the unedited model. Sequences with the same tokens, edited in several ways, run once. */
async function unedited(runtime: ModelRuntime, batch: Batch): Promise<Float32Array> {
  const { dModel } = runtime;
  const tokens = Array.from({ length: batch.size }, (_, b) => batch.tokens.subarray(b * batch.steps, b * batch.steps + batch.lengths[b]!));
  const first = new Map<string, number>();
  const runOf = tokens.map((ids) => {
    const key = ids.join();
    const run = first.get(key) ?? first.size;
    first.set(key, run);
    return run;
  });
  const own = Array.from({ length: first.size }, (_, run) => tokens[runOf.indexOf(run)]!);
  const plain = makeBatch(own.map((ids) => ({ tokens: ids, past: 0, edits: undefined })), { kind: "none" });
  const rows = predictingRows(plain, (await runtime.pass(plain)).resid, dModel);
  if (own.length === batch.size) return rows;
  const starts = own.map(() => 0);
  for (let run = 1; run < own.length; run++) starts[run] = starts[run - 1]! + (own[run - 1]!.length - 1) * dModel;
  const all = new Float32Array(scores(batch) * dModel);
  let at = 0;
  for (const [b, run] of runOf.entries()) {
    const length = (batch.lengths[b]! - 1) * dModel;
    all.set(rows.subarray(starts[run]!, starts[run]! + length), at);
    at += length;
  }
  return all;
}

/** The rows that predict a token of their sequence: all but each last one. */
function predictingRows(batch: Batch, resid: Float32Array, d: number): Float32Array {
  const rows = new Float32Array(scores(batch) * d);
  let at = 0;
  for (let b = 0; b < batch.size; b++) {
    const count = (batch.lengths[b]! - 1) * d;
    const start = b * batch.steps * d;
    rows.set(resid.subarray(start, start + count), at);
    at += count;
  }
  return rows;
}

function nextTokens(batch: Batch): Uint32Array {
  const next = new Uint32Array(scores(batch));
  let at = 0;
  for (let b = 0; b < batch.size; b++) {
    const start = b * batch.steps;
    next.set(batch.tokens.subarray(start + 1, start + batch.lengths[b]!), at);
    at += batch.lengths[b]! - 1;
  }
  return next;
}

function scores(batch: Batch): number {
  return batch.lengths.reduce((sum, length) => sum + length - 1, 0);
}
