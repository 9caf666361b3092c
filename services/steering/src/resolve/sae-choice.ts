import { type Sae, SaeState } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { failedPrecondition, parseName } from "@mistral-sae/rpc";
import type { Peers } from "../peers.ts";

/** Checks models/{model}/saes/{sae}, or takes the only SAE that is READY. Throws FAILED_PRECONDITION SAE_AMBIGUOUS otherwise. */
export async function chooseSae(peers: Peers, name: string, field: string, signal: AbortSignal): Promise<string> {
  if (name !== "") {
    parseName("models/{model}/saes/{sae}", name, field);
    return name;
  }
  const ready: Sae[] = [];
  for (let pageToken = ""; ; ) {
    const page = await peers.saes.listSaes({ pageSize: 1000, pageToken }, { signal });
    ready.push(...page.saes.filter(({ state }) => state === SaeState.READY));
    if (page.nextPageToken === "") break;
    pageToken = page.nextPageToken;
  }
  const [only, ...others] = ready;
  if (only !== undefined && others.length === 0) return only.name;
  const names = ready.map((sae) => sae.name).join(", ");
  throw failedPrecondition(
    "SAE_AMBIGUOUS",
    ready.length === 0 ? "no SAE is READY: register one with CreateSae" : `${field} is empty and ${ready.length} SAEs are READY: name one of ${names}`,
  );
}

/** models/{model} of an SAE's name. */
export function modelOf(sae: string): string {
  return sae.split("/").slice(0, 2).join("/");
}

/** models/{model}/saes/{sae}/features/{feature_index}. */
export function featureName(sae: string, featureIndex: number): string {
  return `${sae}/features/${featureIndex}`;
}
