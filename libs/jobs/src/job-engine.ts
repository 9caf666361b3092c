import type { Message } from "@bufbuild/protobuf";
import type { Operation, OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";

/** How an operation is started. */
export interface StartOptions {
  /** Makes the start idempotent; empty or absent starts a new operation each time. */
  readonly requestId?: string;
  /** Last segment of the name, [a-z0-9][a-z0-9-]{0,62}; default one drawn at random. */
  readonly id?: string;
}

/** Which operations are listed. */
export interface ListOptions {
  /** Default 50, at most 1000. */
  readonly pageSize?: number;
  readonly pageToken?: string;
  readonly kinds?: readonly string[];
  readonly states?: readonly OperationState[];
}

/** A page of operations, newest first. */
export interface OperationPage {
  readonly operations: Operation[];
  /** Empty on the last page. */
  readonly nextPageToken: string;
}

/**
 * Runs jobs as operations that survive restarts. Names are `operations/{service}/{id}`; an unknown one is NOT_FOUND.
 * All errors are RpcErrors.
 */
export interface JobEngine {
  /**
   * Starts an operation, or returns the one that this request_id started before. A request_id or an id that is
   * taken by another input is ALREADY_EXISTS.
   */
  start(kind: string, input: Message, options?: StartOptions): Operation;
  get(name: string): Operation;
  list(options?: ListOptions): OperationPage;
  /** Stops an operation where it can be resumed; the work ends shortly after the call. A finished one stays as it is. */
  cancel(name: string): Operation;
  /** As cancel, but the operation stays open in state PAUSED. */
  pause(name: string): Operation;
  /** Takes a cancelled, failed or paused operation up; one under way is returned as it is. */
  resume(name: string): Promise<Operation>;
  /** Forgets an operation that is done, with its shards and state. */
  delete(name: string): void;
  /** Returns the operation once it is done, or as it stands after timeoutMs. */
  wait(name: string, options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal }): Promise<Operation>;
  /** Yields the operation now and after changes, the last time when it is done; a slow reader skips states. */
  watch(name: string, options?: { readonly signal?: AbortSignal }): AsyncIterable<Operation>;
  /** Takes up what a former process left queued or running. Call once, when the service is ready to work. */
  recover(): Operation[];
  /** Stops all work and leaves it to be recovered by the next process. */
  close(graceMs?: number): Promise<void>;
}
