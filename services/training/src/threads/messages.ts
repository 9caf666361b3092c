import { packError, unpackError, type PackedError } from "@mistral-sae/activations";
import { fromStatusBytes, RpcError, statusBytes } from "@mistral-sae/rpc";
import type { StageProgress } from "@mistral-sae/jobs";

/** What the service tells a stage's thread. */
export type ToStage = { readonly kind: "stop" };

/** What a stage's thread tells the service. `E` are the stage's own events. */
export type FromStage<Result, E> =
  | { readonly kind: "progress"; readonly progress: StageProgress }
  | { readonly kind: "warning"; readonly text: string }
  | { readonly kind: "event"; readonly event: E }
  | { readonly kind: "done"; readonly result: Result }
  | { readonly kind: "failed"; readonly failure: PackedFailure };

/** An error that crosses threads: gRPC errors keep their code and details. */
export type PackedFailure = { readonly rpc: Uint8Array } | { readonly error: PackedError };

export function packFailure(error: unknown): PackedFailure {
  return error instanceof RpcError ? { rpc: statusBytes(error) } : { error: packError(error) };
}

export function unpackFailure(failure: PackedFailure): Error {
  return "rpc" in failure ? fromStatusBytes(failure.rpc) : unpackError(failure.error);
}
