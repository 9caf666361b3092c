import { inFlight } from "../peer/in-flight.ts";
import type { InferencePeer } from "../peer/inference-peer.ts";
import type { Window } from "../peer/tokens.ts";
import type { HarvestText } from "./harvest-plan.ts";
import type { ShardBuffer } from "./shard-buffer.ts";

/** Forward calls that are under way together, so that the engine always has the next one waiting. */
const CALLS_IN_FLIGHT = 3;
/** Tokens of one Forward call. */
const CALL_TOKENS = 8192;

/** Shards with their rows, in order. */
export async function* filled(shards: AsyncIterable<ShardBuffer>, dtype: HarvestText["dtype"], peer: InferencePeer): AsyncIterable<ShardBuffer> {
  const answered = inFlight(calls(shards), CALLS_IN_FLIGHT, async (call) => {
    if (call.windows.length > 0) await peer.forward(call.shard.hookNames, dtype, call.windows, (rows) => call.shard.put(rows, call.firstWindow));
    return call;
  });
  for await (const { shard, firstWindow, windows } of answered) {
    if (firstWindow + windows.length === shard.windows.length) yield shard;
  }
}

/** Some windows of a shard that one Forward call takes; none of one that is passed over. */
interface ForwardCall {
  readonly shard: ShardBuffer;
  readonly firstWindow: number;
  readonly windows: readonly Window[];
}

async function* calls(shards: AsyncIterable<ShardBuffer>): AsyncIterable<ForwardCall> {
  for await (const shard of shards) {
    let firstWindow = 0;
    let tokens = 0;
    if (shard.windows.length === 0) yield { shard, firstWindow, windows: [] };
    for (let at = 0; at < shard.windows.length; at += 1) {
      tokens += shard.windows[at]?.ids.length ?? 0;
      if (tokens < CALL_TOKENS && at + 1 < shard.windows.length) continue;
      yield { shard, firstWindow, windows: shard.windows.slice(firstWindow, at + 1) };
      firstWindow = at + 1;
      tokens = 0;
    }
  }
}
