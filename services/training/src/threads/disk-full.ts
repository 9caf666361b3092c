import { failedPrecondition } from "@mistral-sae/rpc";

const CODES = new Set(["ENOSPC", "EDQUOT"]);

/** What a full disk means for an operation: nothing half written stays, and it goes on where it was once there is room. */
export function explainDiskFull(error: unknown): unknown {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string" || !CODES.has(error.code)) return error;
  const place = "path" in error && typeof error.path === "string" ? ` at ${error.path}` : "";
  return failedPrecondition("DISK_FULL", `the disk${place} is full (${error.message}): make room, by DeleteActivationSet for one, and resume; what was finished is kept`);
}
