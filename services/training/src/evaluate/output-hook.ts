import type { SaeConfig } from "@mistral-sae/sae";

/** Hook whose rows an SAE reconstructs: the one that it reads, or, of a transcoder, the one that its file names as hook_name_out. */
export function outputHookOf({ metadata }: SaeConfig, hookName: string): string {
  const name = metadata["hook_name_out"];
  return typeof name === "string" && name !== "" ? name : hookName;
}
