import type { ListSaesResponseJson, SaeJson } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { call } from "./api.ts";
import { h, replace } from "./dom.ts";
import { idOf } from "./format.ts";

const STORED = "mistral-sae.sae";

/** Every SAE of the system. */
export async function listSaes(signal: AbortSignal): Promise<readonly SaeJson[]> {
  const saes: SaeJson[] = [];
  let pageToken = "";
  do {
    const page = await call<ListSaesResponseJson>("sae", "ListSaes", { pageSize: 1000, pageToken }, signal);
    saes.push(...(page.saes ?? []));
    pageToken = page.nextPageToken ?? "";
  } while (pageToken !== "");
  return saes;
}

/**
 * The SAE that pages show: the one in the address, else the one chosen last, else the first that is loaded.
 * Fills the choice in the head of the page. Throws when there is none.
 */
export async function currentSae(parameters: URLSearchParams, signal: AbortSignal): Promise<SaeJson> {
  const saes = await listSaes(signal);
  const wanted = [parameters.get("sae"), localStorage.getItem(STORED)];
  const found = wanted.map((name) => saes.find((sae) => sae.name === name)).find((sae) => sae !== undefined);
  const chosen = found ?? saes.find(({ state }) => state === "SAE_STATE_READY") ?? saes[0];
  if (chosen === undefined) throw new Error("No SAE is registered yet. Train one, or register a folder: mistral-sae sae register DIR");
  fillChoice(saes, chosen.name ?? "");
  return chosen;
}

/** Address of a feature's page. */
export function featureHref(sae: string, index: number | undefined): string {
  return `#/feature/${index ?? 0}?sae=${encodeURIComponent(sae)}`;
}

/** Address of the steer box with a feature in it. */
export function steerHref(sae: string, index: number | undefined): string {
  return `#/steer?feature=${index ?? 0}&sae=${encodeURIComponent(sae)}`;
}

function fillChoice(saes: readonly SaeJson[], chosen: string): void {
  const select = document.querySelector<HTMLSelectElement>("#sae");
  if (select === null) return;
  replace(select, saes.map(({ name = "" }) => h("option", { value: name, selected: name === chosen }, idOf(name))));
  select.value = chosen;
  select.closest("label")?.toggleAttribute("hidden", saes.length < 2);
}

/** Shows the page again for the SAE that a person chose. */
export function followChoice(): void {
  const select = document.querySelector<HTMLSelectElement>("#sae");
  select?.addEventListener("change", () => {
    localStorage.setItem(STORED, select.value);
    const [path = ""] = location.hash.split("?");
    // A feature's index means another feature in another SAE.
    location.hash = `${path.startsWith("#/feature/") ? "#/features" : path}?sae=${encodeURIComponent(select.value)}`;
  });
}
