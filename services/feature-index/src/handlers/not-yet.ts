import type { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type Handlers, unimplemented } from "@mistral-sae/rpc";

/** What the contract holds and this version does not do. */
const later = {
} as const satisfies Partial<Record<keyof Handlers<typeof FeatureIndexService>, string>>;

export function notYetHandlers(): Pick<Handlers<typeof FeatureIndexService>, keyof typeof later> {
  const refuse = (what: string) => async () => Promise.reject(unimplemented(`${what} is not offered yet`));
  return Object.fromEntries(Object.entries(later).map(([name, what]) => [name, refuse(what)])) as unknown as Pick<Handlers<typeof FeatureIndexService>, keyof typeof later>;
}
