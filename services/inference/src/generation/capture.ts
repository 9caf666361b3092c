import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CaptureSpec, GenerateCapturedSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { EngineInfo, GeneratedSet, Tap } from "@mistral-sae/model";
import { invalidArgument } from "@mistral-sae/rpc";
import { readableHook } from "../interventions/hooks.ts";
import { contains, generatedSet, maySelect, promptMask } from "../interventions/positions.ts";
import type { Prompt } from "../wire/prompt.ts";
import { floatTensor, residualDType, type ResidualDType } from "../wire/tensor.ts";
import { tapKey } from "./step-rows.ts";

type CapturedFields = MessageInitShape<typeof GenerateCapturedSchema>;

/** Payload of one message at most. */
export const CHUNK_BYTES = 1 << 20;

/** A hook that a generation reads, and at which positions. */
export interface Capture {
  readonly tap: Tap;
  readonly key: string;
  readonly width: number;
  readonly dtype: ResidualDType;
  /** One byte a token of the prompt, 1 where it is read. */
  readonly prompt: Uint8Array;
  readonly generated: GeneratedSet;
  readonly readsGenerated: boolean;
}

/** @throws INVALID_ARGUMENT or FAILED_PRECONDITION HOOK_NOT_READABLE naming the field. */
export function readCaptures(specs: readonly CaptureSpec[], prompt: Prompt, info: EngineInfo, maxTokens: number): Capture[] {
  const hooks = new Set<string>();
  return specs.map((spec, i) => {
    const field = `captures[${i}]`;
    const hook = readableHook(`${field}.hook_name`, spec.hookName, info);
    if (hooks.has(spec.hookName)) throw invalidArgument(`${field}.hook_name`, `got ${spec.hookName} twice, wanted each hook once`);
    hooks.add(spec.hookName);
    const tap: Tap = { hook: spec.hookName, afterEdits: spec.afterInterventions };
    const { positions } = spec;
    const generated = positions === undefined ? { all: true } : generatedSet(`${field}.positions`, positions);
    const mask = positions === undefined ? new Uint8Array(prompt.ids.length).fill(1) : promptMask(`${field}.positions`, positions, prompt);
    // Unlike an edit, a capture reads the last token too, which is run through the model once for it.
    const readsGenerated = maySelect({ include: generated }, maxTokens + 1);
    if (!readsGenerated && !mask.includes(1)) {
      throw invalidArgument(`${field}.positions`, "selects no position", "SELECTOR_EMPTY");
    }
    return { tap, key: tapKey(tap), width: hook.width, dtype: residualDType(`${field}.output_dtype`, spec.outputDtype), prompt: mask, generated, readsGenerated };
  });
}

/** Whether the capture reads generated token t with this id. */
export function capturesGenerated(capture: Capture, t: number, id: number): boolean {
  return capture.readsGenerated && contains(capture.generated, t, id);
}

/** Rows [start, start + count) as a message; `rows` is a view that the message does not keep. */
export function capturedRows(capture: Capture, variantId: string, start: number, rows: Float32Array): CapturedFields {
  const own = capture.dtype === "F32" ? rows.slice() : rows;
  return {
    variantId,
    hookName: capture.tap.hook,
    tokenStart: start,
    tensor: floatTensor(own, [rows.length / capture.width, capture.width], capture.dtype),
  };
}

/** Runs of selected positions [from, to), none larger than a message takes. */
export function* runsOf(mask: Uint8Array, width: number): Generator<readonly [number, number]> {
  const most = Math.max(1, Math.floor(CHUNK_BYTES / (4 * width)));
  for (let from = mask.indexOf(1); from >= 0; ) {
    let to = from;
    while (to < mask.length && mask[to] === 1 && to - from < most) to++;
    yield [from, to];
    from = mask.indexOf(1, to);
  }
}
