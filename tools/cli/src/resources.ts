import { SaeState, type Sae } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import type { Clients } from "./clients.ts";
import { badInput, missing } from "./output.ts";

const ID = "[a-z0-9][a-z0-9-]{0,62}";
const SAE = new RegExp(`^(?:models/)?(${ID})/(?:saes/)?(${ID})$`);
const FEATURE = new RegExp(`^((?:models/)?${ID}/(?:saes/)?${ID})/(?:features/)?(\\d+)$`);

/** A model's resource name from its id or its name; empty stays empty and means the only one. */
export function modelName(given: string | undefined): string {
  if (given === undefined || given === "") return "";
  const id = given.startsWith("models/") ? given.slice("models/".length) : given;
  if (!new RegExp(`^${ID}$`).test(id)) throw badInput("not a model", { field: "--model", got: given, wanted: "models/{model} or its id" });
  return `models/${id}`;
}

/** A resource name with its collection, from the name or the bare id. */
export function resourceName(collection: string, given: string): string {
  return given.startsWith(`${collection}/`) ? given : `${collection}/${given}`;
}

/** An SAE's resource name, from `models/{model}/saes/{sae}` or `{model}/{sae}`; undefined where it is neither. */
export function parseSaeName(given: string): string | undefined {
  const match = SAE.exec(given);
  return match === null ? undefined : `models/${match[1] ?? ""}/saes/${match[2] ?? ""}`;
}

/** The SAE that was named (in full, as model/sae or by its id alone), or the only one READY. */
export async function resolveSae(clients: Clients, given: string | undefined, signal: AbortSignal): Promise<string> {
  const named = given === undefined ? undefined : parseSaeName(given);
  if (named !== undefined) return named;
  const saes = await allSaes(clients, signal);
  const known = saes.map(({ name }) => name).join(", ");
  if (given !== undefined) {
    const found = saes.filter(({ name }) => name.endsWith(`/saes/${given}`));
    if (found.length === 1 && found[0] !== undefined) return found[0].name;
    if (found.length > 1) throw badInput("several models have such an SAE", { field: "--sae", got: given, wanted: found.map(({ name }) => name).join(" or ") });
    throw missing(`no SAE is called ${given}`, { field: "--sae", got: given, wanted: known === "" ? "none is registered" : `one of ${known}` });
  }
  const ready = saes.filter(({ state }) => state === SaeState.READY);
  if (ready.length === 1 && ready[0] !== undefined) return ready[0].name;
  if (ready.length === 0) throw missing("no SAE is loaded", { hint: "train one with `mistral-sae train`, or register a folder with `mistral-sae sae register DIR`" });
  throw badInput("more than one SAE is loaded", { field: "--sae", wanted: ready.map(({ name }) => name).join(" or ") });
}

/** Every SAE of every model. */
export async function allSaes(clients: Clients, signal: AbortSignal, parent = ""): Promise<readonly Sae[]> {
  return allPages(async (pageToken) => {
    const page = await clients.sae.listSaes({ parent, pageSize: 1000, pageToken }, { signal });
    return { rows: page.saes, nextPageToken: page.nextPageToken };
  });
}

/** A feature: its SAE's resource name and its row. */
export interface FeatureName {
  readonly sae: string;
  readonly index: number;
}

/** A feature given as `{sae}/{index}` or by its index alone, of `sae` or of the only SAE READY. */
export async function resolveFeature(clients: Clients, given: string, sae: string | undefined, signal: AbortSignal): Promise<FeatureName> {
  const match = FEATURE.exec(given);
  const named = match?.[1] === undefined ? undefined : parseSaeName(match[1]);
  if (named !== undefined) return { sae: named, index: Number(match?.[2]) };
  if (!/^\d+$/.test(given)) throw badInput("not a feature", { field: "feature", got: given, wanted: "its index, or models/{model}/saes/{sae}/features/{feature_index}" });
  return { sae: await resolveSae(clients, sae, signal), index: Number(given) };
}

/** Resource name of a feature. */
export function featureName({ sae, index }: FeatureName): string {
  return `${sae}/features/${index}`;
}

/** A page of rows. */
export interface Page<Row> {
  readonly rows: readonly Row[];
  readonly nextPageToken: string;
}

/** Rows of all pages, at most `limit`. */
export async function allPages<Row>(fetchPage: (pageToken: string) => Promise<Page<Row>>, limit = Number.POSITIVE_INFINITY): Promise<Row[]> {
  const rows: Row[] = [];
  let token = "";
  do {
    const page = await fetchPage(token);
    rows.push(...page.rows);
    token = page.nextPageToken;
  } while (token !== "" && rows.length < limit);
  return rows.length > limit ? rows.slice(0, limit) : rows;
}
