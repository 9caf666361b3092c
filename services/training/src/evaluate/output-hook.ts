import { failedPrecondition } from "@mistral-sae/rpc";
import { hookNameOutOf, isTranscoder, type SaeConfig } from "@mistral-sae/sae";

/** Hook whose rows an SAE reconstructs: the one that it reads, or, of a transcoder, the one that its file names. @throws RpcError FAILED_PRECONDITION when it names none. */
export function outputHookOf(config: SaeConfig, hookName: string): string {
  if (!isTranscoder(config)) return hookName;
  const out = hookNameOutOf(config);
  if (out === undefined) throw failedPrecondition("OUTPUT_HOOK_UNKNOWN", "the SAE is a transcoder and its file names no hook_name_out: nothing says what its output is to be compared with");
  return out;
}
