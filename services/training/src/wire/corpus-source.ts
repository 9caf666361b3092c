import type { CorpusSource as CorpusMessage } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import type { CorpusSource } from "@mistral-sae/corpus";

/** The corpus that a message names. */
export function corpusSourceOf(message: CorpusMessage | undefined): CorpusSource {
  return {
    uri: message?.uri ?? "",
    textField: message?.textField,
    sourceField: message?.sourceField,
    maxDocuments: Number(message?.maxDocuments ?? 0n),
  };
}
