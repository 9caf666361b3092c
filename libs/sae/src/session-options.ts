import type * as ort from "onnxruntime-node";

/** Warnings and worse. */
const logSeverity = 3;

/** How every session of this library computes: on so many threads, which sleep while they wait. */
export function sessionOptions(threads: number): ort.InferenceSession.SessionOptions {
  return {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: "all",
    logSeverityLevel: logSeverity,
    // Waiting threads would otherwise burn the cores that the kernels need next.
    extra: { session: { intra_op: { allow_spinning: "0" } } },
  };
}
