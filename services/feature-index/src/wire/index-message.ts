import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type FeatureIndexSchema, IndexState } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { IndexRecord, IndexStateName } from "../catalogue/records.ts";

const STATES: Readonly<Record<IndexStateName, IndexState>> = { building: IndexState.BUILDING, ready: IndexState.READY, failed: IndexState.FAILED };

/** An index as the contract says it. */
export function indexMessage(index: IndexRecord, state: IndexStateName): MessageInitShape<typeof FeatureIndexSchema> {
  return {
    name: `indexes/${index.id}`,
    sae: index.sae.name,
    corpus: `corpora/${index.corpus.id}`,
    state: STATES[state],
    dSae: index.sae.dSae,
    nTokens: BigInt(index.nTokens),
    nActivations: BigInt(index.nActivations),
    nFeaturesAlive: BigInt(index.nFeaturesAlive),
    createTime: timestampFromMs(index.createdMs),
    saeDigest: index.sae.digest,
  };
}
