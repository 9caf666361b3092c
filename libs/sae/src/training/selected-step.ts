import { architectureFacts, isDense } from "./architecture.ts";
import { codesOf } from "./codes.ts";
import { DenseEncoder } from "./dense-encoder.ts";
import { TrainerEncoder } from "./encoder.ts";
import { gaoGradients } from "./gao-step.ts";
import type { GradientStep } from "./gradient-step.ts";
import { seedGradients } from "./seed-step.ts";
import type { Gradients, StepContext, StepParts } from "./step-context.ts";

/** Loss and gradients of architectures that select their features. */
export class SelectedStep implements GradientStep {
  readonly #context: StepContext;

  private constructor(context: StepContext) {
    this.#context = context;
  }

  static async create(parts: StepParts): Promise<SelectedStep> {
    const { config, memory, team } = parts;
    const { layout, shared } = memory;
    const encoder = await TrainerEncoder.create(layout, shared.memory);
    const dense = isDense(config.architecture) ? await DenseEncoder.create(layout, shared.memory) : undefined;
    return new SelectedStep({ ...parts, encoder, dense, codes: codesOf(config, memory, team, encoder, dense) });
  }

  async gradients(): Promise<Gradients> {
    return await (this.#context.config.formulation === "seed_compat" ? seedGradients(this.#context) : gaoGradients(this.#context));
  }

  afterUpdate(): void {
    const { codes, config, memory } = this.#context;
    if (architectureFacts[config.architecture].k !== "batch" || codes.smallest === undefined) return;
    memory.topkThreshold = (1 - config.topkThresholdLr) * memory.topkThreshold + config.topkThresholdLr * codes.smallest;
  }

  async close(): Promise<void> {
    await this.#context.encoder.close();
    await this.#context.dense?.close();
  }
}
