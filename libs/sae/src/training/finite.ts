import { NonFiniteError } from "./non-finite-error.ts";
import { Arg } from "./phases.ts";
import type { StepParts } from "./step-context.ts";
import type { MatrixRegion } from "./trainer-memory.ts";

/** Throws NonFiniteError when the loss is not finite, naming the first tensor of the forward pass that is not. */
export function requireFiniteLoss({ memory, team }: StepParts, loss: number): void {
  if (Number.isFinite(loss)) return;
  const { batch, dOut, rowStride } = memory.layout;
  const rows = new Float32Array(memory.buffer, team.args[Arg.slot]!, (batch * rowStride) / 4);
  const found =
    firstBad([["the batch", rows], ["b_dec", memory.vector("bDec").subarray(0, dOut)]]) ?? badMatrix(memory, "wEnc", "W_enc", "b_enc") ?? badMatrix(memory, "wDec", "W_dec", "W_dec") ?? (memory.layout.skips ? badMatrix(memory, "wSkip", "W_skip", "W_skip") : undefined);
  throw new NonFiniteError(memory.step + 1, found ?? "the squared error");
}

/** Throws NonFiniteError when the gradient's squares are not finite, naming the gradient that is not. */
export function requireFiniteGradient({ memory }: StepParts, squares: number): void {
  if (Number.isFinite(squares)) return;
  const stored = memory.layout.storesGradients;
  const name =
    firstBad([["the gradient of b_dec", memory.vector("gBDec")]]) ??
    (memory.layout.skips ? badMatrix(memory, "gSkip", "the gradient of W_skip", "the gradient of W_skip") : undefined) ??
    (stored ? badMatrix(memory, "gDec", "the gradient of W_dec", "the gradient of W_dec") : undefined) ??
    (stored ? badMatrix(memory, "gEnc", "the gradient of W_enc", "the gradient of b_enc") : undefined);
  throw new NonFiniteError(memory.step + 1, name ?? "the gradient's norm");
}

function firstBad(tensors: readonly (readonly [string, Float32Array])[]): string | undefined {
  return tensors.find(([, values]) => !values.every(Number.isFinite))?.[0];
}

function badMatrix(memory: StepParts["memory"], region: MatrixRegion, name: string, biasName: string): string | undefined {
  const { d } = memory.layout;
  for (let f = 0; f < memory.shape(region)[0]; f++) {
    const bad = memory.row(region, f).findIndex((value) => !Number.isFinite(value));
    if (bad !== -1) return bad < d ? name : biasName;
  }
  return undefined;
}
