import { constantColumn, fixedColumn, stringColumn } from "@mistral-sae/clickhouse";
import { isHeldBack } from "@mistral-sae/corpus";
import type { JobContext } from "@mistral-sae/jobs";
import type { IndexRecord } from "../catalogue/records.ts";
import type { CompleteParts } from "../indexing/complete-index.ts";
import { T } from "../store/tables.ts";

interface DocumentRow {
  readonly docId: number;
  readonly source: string;
  readonly sequenceStart: number;
  readonly nSequences: number;
  /** Ids of its windows one after another, special ones left out. */
  readonly tokenIds: number[];
}

const PAGE = 1_024;
// Far below the largest message.
const CALL_TOKENS = 1 << 20;

/**
 * Makes the documents that an index's windows belong to, their text from the tokens. Goes on where an earlier attempt
 * stopped: a page is inserted, then noted.
 */
export async function storeDocuments(
  { clickhouse, peers }: CompleteParts,
  { corpus }: IndexRecord,
  nDocuments: number,
  { state, signal, progress }: Pick<JobContext, "state" | "signal" | "progress">,
): Promise<void> {
  const { corpusId, model } = corpus;
  let { after, done } = (state.get("ingest:pages") as { after: number; done: number } | undefined) ?? { after: -1, done: 0 };
  // An attempt whose end nobody knows may have inserted one page more.
  let unsure = true;
  for (;;) {
    progress({ stage: "documents", doneUnits: done, totalUnits: nDocuments, unit: "documents" });
    const rows = await clickhouse.rows<DocumentRow>(
      `SELECT doc_id AS docId, any(toString(source)) AS source, min(sequence_id) AS sequenceStart, count() AS nSequences,
         arrayFlatten(arrayMap(w -> w.2, arraySort(w -> w.1, groupArray((sequence_id, arrayFilter((id, i) -> NOT has(special, i - 1), tokens, arrayEnumerate(tokens))))))) AS tokenIds
       FROM ${T.sequences}
       WHERE corpus_id = {corpusId:UInt32} AND doc_id IN (
         SELECT doc_id FROM ${T.sequences} WHERE corpus_id = {corpusId:UInt32} AND doc_id > {after:Int64} GROUP BY doc_id ORDER BY doc_id LIMIT {page:UInt32})
       GROUP BY doc_id ORDER BY doc_id`,
      { corpusId, after, page: PAGE },
      { signal },
    );
    const last = rows.at(-1);
    if (last === undefined) return;
    if (!unsure || !(await isStored(rows))) {
      const texts = await textsOf(rows);
      const u32 = (pick: (row: DocumentRow) => number) => Uint32Array.from(rows, pick);
      const columns = [
        constantColumn("corpus_id", "UInt32", corpusId, rows.length),
        fixedColumn("doc_id", "UInt32", u32(({ docId }) => docId)),
        stringColumn("source", rows.map(({ source }) => source)),
        fixedColumn("held_back", "UInt8", Uint8Array.from(texts, (text) => Number(isHeldBack(text)))),
        fixedColumn("sequence_start", "UInt32", u32(({ sequenceStart }) => sequenceStart)),
        fixedColumn("n_sequences", "UInt32", u32(({ nSequences }) => nSequences)),
        fixedColumn("n_tokens", "UInt32", u32(({ tokenIds }) => tokenIds.length)),
        stringColumn("text", texts),
      ];
      await clickhouse.insertColumns(T.documents, columns, { signal, deduplicationToken: `${T.documents}/${corpusId}/after ${after}` });
    }
    unsure = false;
    after = last.docId;
    done += rows.length;
    state.set("ingest:pages", { after, done });
  }

  async function textsOf(rows: readonly DocumentRow[]): Promise<string[]> {
    const texts: string[] = [];
    let batch: { tokenIds: number[] }[] = [];
    let tokens = 0;
    for (const [i, { tokenIds }] of rows.entries()) {
      batch.push({ tokenIds });
      tokens += tokenIds.length;
      if (tokens < CALL_TOKENS && i < rows.length - 1) continue;
      const answer = await peers.inference.detokenize({ model, sequences: batch }, { signal });
      if (answer.texts.length !== batch.length) throw new Error(`got the texts of ${answer.texts.length} documents, wanted ${batch.length}`);
      texts.push(...answer.texts);
      batch = [];
      tokens = 0;
    }
    return texts;
  }

  async function isStored(rows: readonly DocumentRow[]): Promise<boolean> {
    const { n } = await clickhouse.row<{ n: number }>(
      `SELECT count() AS n FROM ${T.documents} WHERE corpus_id = {corpusId:UInt32} AND doc_id >= {first:UInt32} AND doc_id <= {last:UInt32}`,
      { corpusId, first: rows[0]?.docId, last: rows.at(-1)?.docId },
      { signal },
    );
    return n === rows.length;
  }
}
