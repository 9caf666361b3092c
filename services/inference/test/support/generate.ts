import type { MessageInitShape } from "@bufbuild/protobuf";
import type { GenerateCaptured, GenerateFinished, GenerateRequestSchema, GenerateStarted, GenerateStep } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { TestService } from "./service.ts";

/** All events of one variant. */
export interface VariantEvents {
  readonly steps: GenerateStep[];
  readonly captured: GenerateCaptured[];
  finished: GenerateFinished | undefined;
}

/** A generation read to its end. */
export interface Generated {
  readonly started: GenerateStarted;
  readonly variants: ReadonlyMap<string, VariantEvents>;
}

/** Runs Generate to its end. */
export async function generate(
  service: TestService,
  request: MessageInitShape<typeof GenerateRequestSchema>,
  signal?: AbortSignal,
): Promise<Generated> {
  let started: GenerateStarted | undefined;
  const variants = new Map<string, VariantEvents>();
  for await (const { event } of service.inference.generate(request, signal === undefined ? {} : { signal })) {
    if (event.case === "started") {
      started = event.value;
      for (const { variantId } of started.resolvedVariants) variants.set(variantId, { steps: [], captured: [], finished: undefined });
      continue;
    }
    if (event.case === undefined) continue;
    const variant = variants.get(event.value.variantId);
    if (variant === undefined) throw new Error(`unknown variant ${event.value.variantId}`);
    if (event.case === "step") variant.steps.push(event.value);
    else if (event.case === "captured") variant.captured.push(event.value);
    else variant.finished = event.value;
  }
  if (started === undefined) throw new Error("the generation never started");
  return { started, variants };
}

/** The events of a variant that must be there. */
export function variantOf({ variants }: Generated, id = "baseline"): VariantEvents {
  const variant = variants.get(id);
  if (variant === undefined) throw new Error(`no variant ${id}`);
  return variant;
}

/** A variant's text, joined from its deltas. */
export function textOf(variant: VariantEvents): string {
  return variant.steps.map(({ textDelta }) => textDelta).join("");
}

/** A variant's token ids. */
export function idsOf(variant: VariantEvents): number[] {
  return variant.steps.map(({ tokenId }) => tokenId);
}
