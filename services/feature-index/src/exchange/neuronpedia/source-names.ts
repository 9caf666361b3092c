import type { IndexRecord } from "../../catalogue/records.ts";

/** How Neuronpedia names a model and an SAE of it. */
export interface SourceNames {
  readonly modelId: string;
  /** `{layer}-{set}`: the column `layer` of every row. */
  readonly sourceId: string;
  readonly setName: string;
  readonly layer: number;
}

/** Neuronpedia's ids hold letters, digits, "-" and "_", in lower case. */
function idOf(text: string): string {
  return text.toLowerCase().replaceAll(/[^a-z0-9_-]+/g, "-").slice(0, 100);
}

/** Names of an index's SAE: its layer is that of its hook, 0 for hooks of no layer; its set is the SAE's own id. */
export function sourceNames({ sae }: Pick<IndexRecord, "sae">): SourceNames {
  const [, model = "", , id = ""] = sae.name.split("/");
  const layer = Number(/^blocks\.(\d+)\./.exec(sae.hookName)?.[1] ?? 0);
  const setName = idOf(id);
  return { modelId: idOf(model), sourceId: `${layer}-${setName}`, setName, layer };
}
