import { cutAlike, loadRows, ShardSet, type RowFile } from "@mistral-sae/activations";
import { bytesFromF32, f32FromBytes, InputError, type FloatDType } from "@mistral-sae/tensor";
import type { StageContext } from "../threads/stage-thread.ts";
import { IMPORT_SHARD_ROWS, type Imported, type ImportPlan } from "./import-plan.ts";

/** Copies rows from files to shards of {@link IMPORT_SHARD_ROWS}; shards that are there are passed over. */
export async function importFiles({ store, source, uri, files, rows }: ImportPlan, context: StageContext): Promise<Imported> {
  const set = await ShardSet.open(store, source, { uri });
  await set.removeUnfinished();
  const done = await set.finished();
  let shards = done.length;
  const pieces = cutAlike([{ files, rows, width: source.width, dtype: files[0]?.dtype ?? source.dtype }], IMPORT_SHARD_ROWS)[0] ?? [];
  const progress = (at: number): void => context.progress({ stage: "import", doneUnits: Math.min(rows, at * IMPORT_SHARD_ROWS), totalUnits: rows, unit: "rows" });
  progress(shards);
  for await (const { index, rowStart, bytes, count, places } of whole(pieces, source.dtype)) {
    context.signal.throwIfAborted();
    if (index < done.length) continue;
    await set.write({ index, rows: count, rowStart, documentStart: index, documentEnd: index + 1 }, bytes, places);
    shards = index + 1;
    progress(shards);
  }
  await set.writeEnd({ shards, rows, documents: files.length, heldBack: 0, emptyTexts: 0 });
  return { folder: set.folder, rows, shards };
}

interface WholeShard {
  readonly index: number;
  readonly rowStart: number;
  readonly count: number;
  readonly bytes: Uint8Array;
  /** The file's ordinal and the row in it. */
  readonly places: { readonly documents: Uint32Array; readonly positions: Uint32Array };
}

/** Joins the pieces that files were cut into to shards of equal rows; only the last is shorter. */
async function* whole(pieces: readonly RowFile[], dtype: FloatDType): AsyncIterable<WholeShard> {
  let shard: { bytes: Uint8Array[]; count: number; documents: number[]; positions: number[] } = { bytes: [], count: 0, documents: [], positions: [] };
  let index = 0;
  let file = -1;
  let rowInFile = 0;
  let path = "";
  const close = (): WholeShard => {
    const { bytes, count, documents, positions } = shard;
    shard = { bytes: [], count: 0, documents: [], positions: [] };
    const rowStart = index * IMPORT_SHARD_ROWS;
    return { index: index++, rowStart, count, bytes: Buffer.concat(bytes), places: { documents: Uint32Array.from(documents), positions: Uint32Array.from(positions) } };
  };
  for (const piece of pieces) {
    if (`${piece.store.root}/${piece.key}` !== path) {
      path = `${piece.store.root}/${piece.key}`;
      file += 1;
      rowInFile = 0;
    }
    const bytes = converted(await loadRows(piece), piece, dtype);
    const rowBytes = bytes.length / piece.rows;
    for (let at = 0; at < piece.rows; ) {
      const count = Math.min(piece.rows - at, IMPORT_SHARD_ROWS - shard.count);
      shard.bytes.push(bytes.subarray(at * rowBytes, (at + count) * rowBytes));
      for (let row = 0; row < count; row += 1) {
        shard.documents.push(file);
        shard.positions.push(rowInFile);
        rowInFile += 1;
      }
      shard.count += count;
      at += count;
      if (shard.count === IMPORT_SHARD_ROWS) yield close();
    }
  }
  if (shard.count > 0) yield close();
}

function converted(bytes: Uint8Array, { dtype, rows, width, key, store }: RowFile, wanted: FloatDType): Uint8Array {
  if (dtype === wanted) return bytes;
  const values = f32FromBytes(dtype, bytes, new Float32Array(rows * width));
  const out = bytesFromF32(wanted, values);
  // Half precision ends at 65504; an infinity would end the training that reads it.
  if (wanted === "F16" && new Float16Array(out.buffer, out.byteOffset, values.length).some((value, at) => !Number.isFinite(value) && Number.isFinite(values[at]))) {
    throw new InputError("some values do not fit half precision", { file: `${store.root}/${key}`, field: "activation_dtype", got: "F16", wanted: "BF16 or F32" });
  }
  return out;
}
