import type { ActivationSource } from "@mistral-sae/activations";
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
  /** The hooks that still lack a shard; at least one. */
  hooksOf(index: number): readonly HookRows[];
}

/** Deals documents to shards, each of at least the source's shard tokens; the last has what is left. */
export async function* dealShards(documents: AsyncIterable<Document>, start: ShardStart, peer: InferencePeer, options: DealOptions): AsyncIterable<ShardBuffer> {
  let { index, rowStart, documentStart } = start;
  let documentEnd = documentStart;
  let windows: Window[] = [];
  let tokens = 0;
  const close = (): ShardBuffer => {
    const shard = new ShardBuffer({ index, rowStart, documentStart, documentEnd, windows }, options.hooksOf(index));
    index += 1;
    rowStart += shard.rows;
    documentStart = documentEnd;
    windows = [];
    tokens = 0;
    return shard;
  };
  for await (const { document, windows: more } of tokenWindows(documents, peer, options)) {
    documentEnd = document.docId + 1;
    windows.push(...more);
    tokens += more.reduce((sum, window) => sum + window.ids.length, 0);
    if (tokens < options.shardTokens) continue;
    yield close();
    if (rowStart >= options.rowsWanted) return;
  }
  if (windows.length > 0) yield close();
}
