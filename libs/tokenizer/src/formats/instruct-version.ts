import type { InstructVersion } from "./source.ts";

/** The instruct format that a vocabulary's control tokens are made for; undefined when it has none. */
export function instructOf(idOf: (token: string) => number | undefined): InstructVersion | undefined {
  if (idOf("[INST]") === undefined || idOf("[/INST]") === undefined) return undefined;
  return idOf("[SYSTEM_PROMPT]") !== undefined && idOf("[/SYSTEM_PROMPT]") !== undefined ? "v7" : "v3";
}
