import { h, replace } from "../dom.ts";
import { idOf } from "../format.ts";
import { currentSae } from "../saes.ts";
import { steerBox } from "../steer-box.ts";

/** The steer box by itself; `?feature=12` fills it in. */
export async function steerPage(root: HTMLElement, _path: readonly string[], parameters: URLSearchParams, signal: AbortSignal): Promise<void> {
  const sae = (await currentSae(parameters, signal)).name ?? "";
  const given = parameters.get("feature");
  const feature = given !== null && /^\d+$/.test(given) ? Number(given) : undefined;
  replace(root, h("h1", {}, "Steer", h("span.soft.small", {}, idOf(sae))), steerBox({ sae, feature, signal }));
}
