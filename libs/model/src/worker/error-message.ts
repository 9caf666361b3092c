import { InputError } from "@mistral-sae/tensor";
import { CacheFullError } from "../cache-full-error.ts";
import type { ErrorMessage } from "./protocol.ts";

/** An error as a message that can cross threads. */
export function toMessage(error: unknown): ErrorMessage {
  if (error instanceof InputError) {
    const { file, field, got, wanted, summary } = error;
    return { kind: "input", message: summary, stack: error.stack, details: { file, field, got, wanted } };
  }
  if (error instanceof CacheFullError) return { kind: "cache", message: error.message, stack: error.stack, details: { used: error.used, budget: error.budget, wanted: error.wanted } };
  if (error instanceof Error) return { kind: "other", message: error.message, stack: error.stack, details: {} };
  return { kind: "other", message: String(error), stack: undefined, details: {} };
}

/** The error that a message stands for. */
export function fromMessage({ kind, message, stack, details }: ErrorMessage): Error {
  let error: Error;
  if (kind === "input") {
    error = new InputError(message, Object.fromEntries(Object.entries(details).filter(([, value]) => value !== undefined)));
  } else if (kind === "cache") {
    error = new CacheFullError(Number(details["used"]), Number(details["budget"]), Number(details["wanted"]));
  } else {
    error = new Error(message);
  }
  if (stack !== undefined) error.stack = stack;
  return error;
}
