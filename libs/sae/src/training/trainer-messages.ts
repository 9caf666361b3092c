import { InputError } from "@mistral-sae/tensor";
import type { ResolvedTrainerConfig } from "./config.ts";
import type { LoopProvider } from "./loop/loop-trainer.ts";
import type { TrainerInit } from "./initialise.ts";
import { NonFiniteError } from "./non-finite-error.ts";
import type { SharedTrainer } from "./trainer-memory.ts";
import type { TrainerMetrics } from "./trainer-port.ts";

/** What computes the steps: kernels and onnxruntime on the CPU, or onnxruntime alone, several steps in one run. */
export type TrainerBackend = { readonly kind: "hybrid" } | { readonly kind: "loop"; readonly provider: LoopProvider };

/** What the trainer's thread is started with. */
export interface TrainerThreadData {
  readonly backend: TrainerBackend;
  readonly config: ResolvedTrainerConfig;
  readonly init: TrainerInit;
}

/** To the trainer's thread; answered in order. */
export type TrainerRequest = { readonly kind: "step"; readonly slot: number } | { readonly kind: "close" };

/** From the trainer's thread. */
export type TrainerReply =
  | { readonly kind: "ready"; readonly shared: SharedTrainer }
  | { readonly kind: "stepped"; readonly metrics: TrainerMetrics }
  | { readonly kind: "closed" }
  | { readonly kind: "failed"; readonly error: TrainerFailure };

/** An error as it crosses threads; classes do not. */
export interface TrainerFailure {
  readonly message: string;
  readonly stack: string | undefined;
  readonly nonFinite?: { readonly step: number; readonly tensor: string } | undefined;
  readonly input?: { readonly field: string | undefined; readonly got: string | undefined; readonly wanted: string | undefined } | undefined;
}

export function failureOf(error: unknown): TrainerFailure {
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  if (error instanceof NonFiniteError) return { message, stack, nonFinite: { step: error.step, tensor: error.tensor } };
  if (error instanceof InputError) return { message, stack, input: { field: error.field, got: error.got, wanted: error.wanted } };
  return { message, stack };
}

export function errorOf({ message, stack, nonFinite, input }: TrainerFailure): Error {
  if (nonFinite !== undefined) return new NonFiniteError(nonFinite.step, nonFinite.tensor);
  if (input !== undefined) {
    const error = new InputError("", Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined)));
    // It already states the details.
    error.message = message;
    return error;
  }
  return new Error(message, { cause: stack });
}
