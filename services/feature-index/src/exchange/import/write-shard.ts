import type { ClickHouse, NativeColumn } from "@mistral-sae/clickhouse";
import { BLOCK_POSITIONS } from "../../blocks/block-layout.ts";
import { T } from "../../store/tables.ts";
import { ExampleRun, type ExampleTarget, type TokenNumbers } from "./example-columns.ts";
import { givenColumns, plainColumns, type PlainRow } from "./feature-columns.ts";
import type { GivenFeature } from "./given-rows.ts";
import { type PeerFile, peerRows, type ReadMeter } from "./peer-file.ts";

/** Files that are written one after another, and the numbers that their rows begin at. */
export interface ImportShard {
  readonly files: readonly PeerFile[];
  readonly firstExample: number;
  readonly firstFeature: number;
  readonly firstExplanation: number;
}

/** What a shard held. */
export interface ShardCounts {
  readonly nTokens: number;
  readonly nSpecialTokens: number;
  readonly nActivations: number;
}

/** Posting blocks whose examples are one insert: about a million tokens. */
const BLOCKS_AN_INSERT = 16;
/** Rows of features and of explanations in an insert; a feature with its vector may have some hundred KiB. */
const ROWS_AN_INSERT = 512;

type Kind = "activation" | "feature" | "explanation";

/**
 * Stores the rows of a shard's files. Where an insert ends depends on the files alone, and the rows of `imported_rows` are the last
 * of each: what they show to be there is not sent again, and what was under way has the same deduplication token as before.
 */
export async function writeShard(clickhouse: ClickHouse, shard: ImportShard, target: ExampleTarget & { readonly dSae: number }, numbers: TokenNumbers, meter: ReadMeter): Promise<ShardCounts> {
  const { indexId, dSae, contextSize } = target;
  const windows = Math.max(1, Math.floor(BLOCK_POSITIONS / contextSize)) * BLOCKS_AN_INSERT;
  const counts = { nTokens: 0, nSpecialTokens: 0, nActivations: 0 };
  const total = { feature: shard.firstFeature, explanation: shard.firstExplanation };
  const stored = await storedRows(clickhouse, indexId, shard);
  const insert = async (table: string, kind: Kind, first: number, columns: NativeColumn[]) => {
    if ((columns[0]?.rows ?? 0) > 0) await clickhouse.insertColumns(table, columns, { deduplicationToken: `${indexId}/${kind}/${first}` });
  };
  let examples = new ExampleRun(target, numbers, shard.firstExample);
  let nextExample = shard.firstExample;
  const flushExamples = async () => {
    const first = nextExample - examples.length;
    if (examples.length > 0) {
      const counted = examples.counts();
      counts.nTokens += counted.nTokens;
      counts.nSpecialTokens += counted.nSpecialTokens;
      counts.nActivations += counted.nActivations;
      if (first >= stored.activation) {
        const { documents, sequences, postings, stagedExamples, importedRows } = examples.columns();
        await insert(T.documents, "activation", first, documents);
        await insert(T.sequences, "activation", first, sequences);
        await insert(T.postings, "activation", first, postings);
        await insert(T.stagedExamples, "activation", first, stagedExamples);
        await insert(T.importedRows, "activation", first, importedRows);
      }
      meter.count("examples", examples.length);
    }
    examples = new ExampleRun(target, numbers, nextExample);
  };
  const plain = { feature: [] as (PlainRow & { readonly given: GivenFeature })[], explanation: [] as PlainRow[] };
  const flushPlain = async (kind: "feature" | "explanation") => {
    const rows = plain[kind];
    const first = total[kind] - rows.length;
    if (rows.length > 0 && first >= stored[kind]) {
      if (kind === "feature") await insert(T.stagedGiven, kind, first, givenColumns(indexId, plain.feature.map(({ given }) => given), numbers.ids));
      await insert(T.importedRows, kind, first, plainColumns(indexId, kind, first, rows));
    }
    plain[kind] = [];
  };
  for (const file of shard.files) {
    for await (const { kind, given, line } of peerRows(file, dSae, meter)) {
      if (kind === "activation") {
        examples.add(given, file.path, line);
        nextExample += 1;
        if (nextExample % windows === 0) await flushExamples();
        continue;
      }
      if (kind === "feature") plain.feature.push({ feature: given.feature, file: file.path, row: given.row, given });
      else plain.explanation.push({ feature: given.feature, file: file.path, row: given.row });
      total[kind] += 1;
      if (plain[kind].length === ROWS_AN_INSERT) await flushPlain(kind);
    }
  }
  await flushExamples();
  await flushPlain("feature");
  await flushPlain("explanation");
  return counts;
}

/** Where a former attempt at a shard came to, by kind: the number of the first row that is not stored. */
async function storedRows(clickhouse: ClickHouse, indexId: number, { firstExample, firstFeature, firstExplanation }: ImportShard): Promise<Readonly<Record<Kind, number>>> {
  const first = { activation: firstExample, feature: firstFeature, explanation: firstExplanation };
  const end = async (kind: Kind): Promise<number> => {
    // Shards that run beside this one have higher numbers: rows of this one are those without a gap.
    const { end } = await clickhouse.row<{ end: number }>(
      `SELECT if(count() = 0, {first:UInt32}, max(ordinal) + 1) AS end FROM (
         SELECT ordinal, row_number() OVER (ORDER BY ordinal) - 1 AS n FROM ${T.importedRows} WHERE index_id = {indexId:UInt32} AND kind = {kind:String} AND ordinal >= {first:UInt32})
       WHERE ordinal = {first:UInt32} + n`,
      { indexId, kind, first: first[kind] },
    );
    return end;
  };
  return { activation: await end("activation"), feature: await end("feature"), explanation: await end("explanation") };
}
