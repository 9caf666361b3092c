import { type ClickHouse, constantColumn, fixedColumn, stringColumn } from "@mistral-sae/clickhouse";
import { Code, RpcError } from "@mistral-sae/rpc";
import type { Catalogue } from "../../catalogue/catalogue.ts";
import type { Vocabularies } from "../../corpus/vocabulary.ts";
import { loadedModel, type Peers } from "../../peers/peers.ts";
import { T } from "../../store/tables.ts";

/** What numbering tokens works with. */
export interface VocabularyParts {
  readonly clickhouse: ClickHouse;
  readonly catalogue: Catalogue;
  readonly peers: Peers;
  readonly vocabularies: Vocabularies;
}

/** How the tokens of an import are numbered. */
export interface ImportVocabulary {
  readonly vocabularyId: number;
  /** By id. A text that several tokens of the model are written as stands once more behind them: that number is used. */
  readonly texts: readonly string[];
  readonly special: readonly number[];
  /** Texts that are not those of exactly one token of the model. */
  readonly nForeign: number;
  /** Whether the model was there to say which text is which token. */
  readonly ofModel: boolean;
}

const TOKENS_AN_INSERT = 1 << 17;

/** The vocabulary of a loaded model with its special tokens; undefined where it is not loaded. */
export async function modelVocabulary({ catalogue, peers, vocabularies }: VocabularyParts, model: string, signal: AbortSignal): Promise<Omit<ImportVocabulary, "nForeign"> | undefined> {
  try {
    const loaded = await loadedModel(peers, model, signal);
    const vocabularyId = await vocabularies.store(loaded, signal);
    const texts = await vocabularies.texts(vocabularyId);
    return { vocabularyId, texts, special: catalogue.vocabularyById(vocabularyId)?.specialIds ?? [], ofModel: true };
  } catch (error) {
    // A model that is only away for a moment comes back; one that is not loaded need not.
    if (error instanceof RpcError && (error.code === Code.NotFound || error.code === Code.FailedPrecondition)) return undefined;
    throw error;
  }
}

/**
 * Numbers for the texts of an import's tokens: that of the model's token where exactly one is written so, and numbers behind the
 * model's for all others. The vocabulary is the model's own where it has all of them, and else one that the operation stores.
 */
export async function importVocabulary(parts: VocabularyParts, operation: string, model: string, strings: ReadonlySet<string>, signal: AbortSignal): Promise<ImportVocabulary> {
  const known = await modelVocabulary(parts, model, signal);
  const own = known?.texts ?? [];
  const ids = new Map<string, number>();
  const several = new Set<string>();
  for (const [id, text] of own.entries()) {
    if (ids.has(text)) several.add(text);
    else ids.set(text, id);
  }
  const foreign = [...strings].filter((text) => !ids.has(text) || several.has(text)).sort();
  const ofModel = known !== undefined;
  const special = (known?.special ?? []).filter((id) => !several.has(own[id] ?? ""));
  // A later text takes the place of an earlier one in the threads' table of texts, so numbers of their own win.
  const texts = [...own, ...foreign];
  if (known !== undefined && foreign.length === 0) return { vocabularyId: known.vocabularyId, texts, special, nForeign: 0, ofModel };
  const { catalogue, clickhouse } = parts;
  const { vocabularyId, size } = catalogue.vocabulary(model, operation);
  if (size === 0) {
    for (let first = 0; first < texts.length; first += TOKENS_AN_INSERT) {
      const some = texts.slice(first, first + TOKENS_AN_INSERT);
      const columns = [constantColumn("vocabulary_id", "UInt32", vocabularyId, some.length), fixedColumn("token_id", "UInt32", Uint32Array.from(some, (_, i) => first + i)), stringColumn("str_token", some)];
      await clickhouse.insertColumns(T.vocabularies, columns, { signal, deduplicationToken: `vocabulary/${vocabularyId}/${first}` });
    }
    catalogue.setSpecialIds(vocabularyId, special);
    catalogue.setVocabularySize(vocabularyId, texts.length);
  }
  return { vocabularyId, texts, special, nForeign: foreign.length, ofModel };
}
