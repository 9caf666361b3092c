import { notFound } from "@mistral-sae/rpc";

/** Which way an SAE is run. */
export type SaeSide = "encode" | "decode";

/** What a model name of the protocol stands for, by the resource names of our own services. */
export type ServedModel = { readonly model: string } | { readonly sae: string; readonly side: SaeSide };

/** The one version of every model. */
export const VERSION = "1";

const NAME = /^(?<model>[a-z0-9][a-z0-9-]{0,62})(?:\.(?<sae>[a-z0-9][a-z0-9-]{0,62})\.(?<side>encode|decode))?$/;

/** `{model}`, `{model}.{sae}.encode` or `{model}.{sae}.decode`; ids have no dots. @throws NOT_FOUND. */
export function parseServedName(name: string, version: string): ServedModel {
  const { model, sae, side } = NAME.exec(name)?.groups ?? {};
  if (model === undefined) throw notFound(`model ${JSON.stringify(name)}`, "is not known, wanted {model}, {model}.{sae}.encode or {model}.{sae}.decode");
  if (version !== "" && version !== VERSION) throw notFound(`model ${JSON.stringify(name)}`, `has no version ${JSON.stringify(version)}, wanted ${VERSION} or none`);
  return sae === undefined ? { model: `models/${model}` } : { sae: `models/${model}/saes/${sae}`, side: side as SaeSide };
}
