import type { TrainingConfig } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import { invalidArgument } from "@mistral-sae/rpc";
import type { ModelFacts } from "./model-facts.ts";

/** Architectures whose trained form SAELens has transcoders of: batches' largest values become those above a threshold. */
const SAELENS_TRANSCODERS = new Set(["standard", "jumprelu", "batchtopk", "matryoshka_batchtopk"]);

/**
 * A transcoder is trained only where some program's form can hold it.
 * @throws RpcError INVALID_ARGUMENT before any work on one that no form holds.
 */
export function requireWritable({ architecture, normalizeActivations }: TrainingConfig, { width, out }: ModelFacts): void {
  if (out === undefined || SAELENS_TRANSCODERS.has(architecture)) return;
  const wanted = `${[...SAELENS_TRANSCODERS].join(", ")}, or topk between hooks of one width with normalize_activations none or expected_average_only_in`;
  const sparsify = architecture === "topk" && width === out.width && (normalizeActivations === "none" || normalizeActivations === "expected_average_only_in");
  if (!sparsify) throw invalidArgument("config.architecture", `got a transcoder of ${architecture} from ${width} to ${out.width} values with ${normalizeActivations}, which neither SAELens nor sparsify can hold, wanted ${wanted}`);
}
