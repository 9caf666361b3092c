import type { LanguageConfig } from "./families.ts";
import { limits } from "./limits.ts";

const layerTypes: ReadonlySet<string> = new Set(["full_attention", "sliding_attention"]);

/**
 * The attention window of each layer. Mistral has one for all layers; Ministral says by `layer_types` which layers have
 * it; Llama has none. Throws InputError where a configuration contradicts itself, because programs differ on its meaning.
 */
export function slidingWindows({ family, fields }: LanguageConfig, nLayers: number): readonly (number | undefined)[] {
  const window = family === "llama" ? undefined : fields.optionalInteger("sliding_window", 1, limits.positions);
  if (window !== undefined && fields.optionalBoolean("use_sliding_window") === false) {
    throw fields.error("use_sliding_window", "the window is switched off here and set in sliding_window", `false, and sliding_window ${window}`, "sliding_window null, if there is no window");
  }
  const types = family === "ministral" ? fields.strings("layer_types") : undefined;
  if (types === undefined) return Array.from({ length: nLayers }, () => window);
  if (types.length !== nLayers) throw fields.error("layer_types", "there is not one type a layer", `${types.length} types`, `${nLayers} types`);
  return types.map((type) => {
    if (!layerTypes.has(type)) throw fields.error("layer_types", "unknown type of layer", type, [...layerTypes].join(" or "));
    if (type === "full_attention") return undefined;
    if (window === undefined) throw fields.error("sliding_window", "layers have a window of no size", "nothing", "an integer, because layer_types has sliding_attention");
    return window;
  });
}
