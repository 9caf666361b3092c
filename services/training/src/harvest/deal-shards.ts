import type { ActivationSource, ShardRecord } from "@mistral-sae/activations";
import type { Document } from "@mistral-sae/corpus";
import type { InferencePeer } from "../peer/inference-peer.ts";
import type { Window } from "../peer/tokens.ts";
import { ShardBuffer, type HookRows } from "./shard-buffer.ts";
import { tokenWindows, type WindowOptions } from "./token-windows.ts";

/** Where the next shard starts. */
export interface ShardStart {
  readonly index: number;
  readonly rowStart: number;
  readonly documentStart: number;
}

export interface DealOptions extends WindowOptions, Pick<ActivationSource, "shardTokens"> {
  /** Deal no shard that starts at this row or later. */
  readonly rowsWanted: number;
  /** Shards of the corpus; Infinity while unknown. */
  readonly end: number;
  /** The hooks that lack a shard. It is decided when the shard's turn comes, once. */
  hooksOf(index: number): readonly HookRows[];
  /** How a shard was cut before, if it was. */
  recordOf(index: number): ShardRecord | undefined;
}

/**
 * Deals documents to shards, each of at least the source's shard tokens; the last has what is left. A shard that
 * no hook lacks comes without windows, and its documents are passed over.
 */
export async function* dealShards(documents: (first: () => number) => AsyncIterable<Document>, start: ShardStart, peer: InferencePeer, options: DealOptions): AsyncIterable<ShardBuffer> {
  let { index, rowStart, documentStart } = start;
  let documentEnd = documentStart;
  let windows: Window[] = [];
  let tokens = 0;
  let hooks: readonly HookRows[] = [];
  const isOver = (): boolean => index >= options.end || rowStart >= options.rowsWanted;
  const close = (): ShardBuffer => {
    const shard = ShardBuffer.filling({ index, rowStart, documentStart, documentEnd, windows }, hooks);
    index += 1;
    rowStart += shard.rows;
    documentStart = documentEnd;
    windows = [];
    tokens = 0;
    return shard;
  };
  function* passedOver(): Iterable<ShardBuffer> {
    while (!isOver()) {
      hooks = options.hooksOf(index);
      const record = options.recordOf(index);
      if (hooks.length > 0 || record === undefined) return;
      yield ShardBuffer.passedOver(record);
      index += 1;
      rowStart += record.rows;
      documentStart = record.documentEnd;
      documentEnd = documentStart;
    }
  }
  yield* passedOver();
  if (isOver()) return;
  for await (const { document, windows: more } of tokenWindows(documents(() => documentStart), peer, options)) {
    // Some documents are tokenised ahead of the shards that pass over them.
    if (document.docId < documentStart) continue;
    documentEnd = document.docId + 1;
    windows.push(...more);
    tokens += more.reduce((sum, window) => sum + window.ids.length, 0);
    if (tokens < options.shardTokens) continue;
    yield close();
    yield* passedOver();
    if (isOver()) return;
  }
  if (windows.length > 0) yield close();
}
