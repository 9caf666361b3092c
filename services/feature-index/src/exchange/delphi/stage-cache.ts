import { arrayColumn, type ClickHouse, constantColumn, fixedColumn, stringColumn } from "@mistral-sae/clickhouse";
import { InputError, openSafetensors } from "@mistral-sae/tensor";
import { basename } from "node:path";
import { T } from "../../store/tables.ts";
import { lists } from "../import/example-columns.ts";
import { type CacheFile, wholeNumbers } from "./read-cache.ts";

/** Activations of one file to be staged: one insert. */
export interface CacheTask {
  readonly indexId: number;
  readonly file: CacheFile;
  /** Rows of its tensors. */
  readonly rows: { readonly start: number; readonly end: number };
  readonly contextSize: number;
  readonly nSequences: number;
}

/** Windows to be stored, which all files hold: one insert. */
export interface TokensTask {
  readonly corpusId: number;
  readonly files: readonly CacheFile[];
  readonly rows: { readonly start: number; readonly end: number };
  readonly contextSize: number;
  readonly dataset: string;
  readonly paddingToken: number | undefined;
}

/** What windows hold. */
export interface TokenCounts {
  readonly nTokens: number;
  readonly nSpecialTokens: number;
}

/** Stages activations, checked, for the blocks that are made of them. @throws InputError naming file, row and field. */
export async function stageActivations(clickhouse: ClickHouse, { indexId, file, rows, contextSize, nSequences }: CacheTask): Promise<TokenCounts> {
  await using opened = await openSafetensors(file.path);
  const places = wholeNumbers(await opened.read("locations", { rows }), file.path, "locations");
  const acts = await opened.readF32("activations", { rows });
  const n = rows.end - rows.start;
  const blockSequences = Math.floor(65_536 / contextSize);
  const blocks = new Uint32Array(n);
  const pos = new Uint16Array(n);
  const features = new Uint32Array(n);
  const width = file.end - file.start;
  for (let i = 0; i < n; i++) {
    const sequence = places[3 * i] as number;
    const token = places[3 * i + 1] as number;
    const latent = places[3 * i + 2] as number;
    const act = acts[i] as number;
    if (sequence >= nSequences || token >= contextSize || latent >= width) {
      throw new InputError(`${file.path}: locations[${rows.start + i}] is outside`, { file: file.path, field: `locations[${rows.start + i}]`, got: `[${sequence}, ${token}, ${latent}]`, wanted: `below [${nSequences}, ${contextSize}, ${width}]` });
    }
    if (!(act > 0 && act < Infinity)) throw new InputError(`${file.path}: activations[${rows.start + i}] is no activation`, { file: file.path, field: `activations[${rows.start + i}]`, got: act, wanted: "a finite number above 0" });
    blocks[i] = Math.floor(sequence / blockSequences);
    pos[i] = (sequence % blockSequences) * contextSize + token;
    features[i] = file.start + latent;
  }
  const columns = [constantColumn("index_id", "UInt32", indexId, n), fixedColumn("block", "UInt32", blocks), fixedColumn("pos", "UInt16", pos), fixedColumn("feature_index", "UInt32", features), fixedColumn("act", "Float32", acts)];
  if (n > 0) await clickhouse.insertColumns(T.stagedActivations, columns, { deduplicationToken: `${indexId}/${file.start}/${rows.start}` });
  return { nTokens: 0, nSpecialTokens: 0 };
}

/** Stores windows as documents of their own. Special tokens and what follows the last token of a short window are marked. @throws InputError. */
export async function storeTokens(clickhouse: ClickHouse, { corpusId, files, rows, contextSize, dataset, paddingToken }: TokensTask, texts: readonly string[], specialIds: ReadonlySet<number>): Promise<TokenCounts> {
  const [first, ...others] = files;
  if (first === undefined) throw new Error("a cache has one file at least");
  const ids = await readTokens(first.path, rows);
  for (const { path } of others) {
    const same = await readTokens(path, rows);
    const at = same.findIndex((id, i) => id !== ids[i]);
    if (at >= 0) throw new InputError(`${path} has other tokens than ${first.path}`, { file: path, field: `tokens[${rows.start + Math.floor(at / contextSize)}, ${at % contextSize}]`, got: same[at], wanted: ids[at] });
  }
  const n = rows.end - rows.start;
  const special: number[][] = [];
  const documents: string[] = [];
  for (let row = 0; row < n; row++) {
    const window = ids.subarray(row * contextSize, (row + 1) * contextSize);
    let length = contextSize;
    if (paddingToken !== undefined) while (length > 0 && window[length - 1] === paddingToken) length -= 1;
    const marks: number[] = [];
    let text = "";
    for (const [i, id] of window.entries()) {
      if (id >= texts.length) throw new InputError(`${first.path}: tokens[${rows.start + row}, ${i}] is no token of the model`, { file: first.path, field: `tokens[${rows.start + row}, ${i}]`, got: id, wanted: `below ${texts.length}` });
      if (i >= length || specialIds.has(id)) marks.push(i);
      else text += texts[id] ?? "";
    }
    special.push(marks);
    documents.push(text);
  }
  const numbers = Uint32Array.from({ length: n }, (_, row) => rows.start + row);
  const source = documents.map(() => dataset);
  const name = basename(first.path);
  const deduplicationToken = `cache/${corpusId}/${rows.start}`;
  await clickhouse.insertColumns(
    T.documents,
    [
      constantColumn("corpus_id", "UInt32", corpusId, n),
      fixedColumn("doc_id", "UInt32", numbers),
      stringColumn("source", source),
      stringColumn("file_name", documents.map(() => name)),
      fixedColumn("line", "UInt32", numbers),
      constantColumn("held_back", "UInt8", 0, n),
      fixedColumn("sequence_start", "UInt32", numbers),
      constantColumn("n_sequences", "UInt32", 1, n),
      fixedColumn("n_tokens", "UInt32", Uint32Array.from(special, (marks) => contextSize - marks.length)),
      stringColumn("text", documents),
    ],
    { deduplicationToken },
  );
  await clickhouse.insertColumns(
    T.sequences,
    [
      constantColumn("corpus_id", "UInt32", corpusId, n),
      fixedColumn("sequence_id", "UInt32", numbers),
      fixedColumn("doc_id", "UInt32", numbers),
      stringColumn("source", source),
      constantColumn("token_start", "UInt32", 0, n),
      arrayColumn("tokens", "UInt32", Uint32Array.from({ length: n }, (_, row) => (row + 1) * contextSize), ids),
      lists("special", "UInt16", special, Uint16Array),
    ],
    { deduplicationToken },
  );
  return { nTokens: ids.length, nSpecialTokens: special.reduce((sum, marks) => sum + marks.length, 0) };
}

async function readTokens(path: string, rows: { readonly start: number; readonly end: number }): Promise<Uint32Array<ArrayBuffer>> {
  await using file = await openSafetensors(path);
  return Uint32Array.from(wholeNumbers(await file.read("tokens", { rows }), path, "tokens"));
}
