import { join } from "node:path";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { StoreAddress } from "@mistral-sae/activations";
import type { ActivationSet, ActivationSetSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { setName, type StoredSet } from "../activations/set-catalogue.ts";

/** A set as callers see it. */
export function activationSetMessage({ folder, source, rows, shards, sizeBytes }: StoredSet, { root }: StoreAddress): Exclude<MessageInitShape<typeof ActivationSetSchema>, ActivationSet> {
  const { hookName, width } = source;
  return { name: setName(folder), hookName, width, tokens: BigInt(rows), shards, uri: join(root, folder), sizeBytes: BigInt(sizeBytes) };
}
