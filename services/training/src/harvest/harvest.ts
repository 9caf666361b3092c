import type { ShardRecord } from "@mistral-sae/activations";
import { isHeldBack, openCorpus, type Corpus, type Document } from "@mistral-sae/corpus";
import { failedPrecondition } from "@mistral-sae/rpc";
import type { InferencePeer } from "../peer/inference-peer.ts";
import { dealShards } from "./deal-shards.ts";
import { filled } from "./fill-shards.ts";
import type { Harvested, HarvestPlan } from "./harvest-plan.ts";
import { HarvestProgress, type ProgressSink } from "./harvest-progress.ts";
import { HookShards } from "./hook-shards.ts";
import type { ShardBuffer } from "./shard-buffer.ts";
import { streamed } from "./stream-harvest.ts";

/**
 * Runs the documents that may be trained on through the model once and writes the rows at each hook as shards.
 * What is stored of a hook is kept: documents are dealt to shards in the order of the corpus, so that any harvest
 * of the same source cuts the same shards, and a shard is read only at hooks that lack it, be it because it was
 * never harvested, dropped or damaged.
 *
 * With `plan.stream` it tells the training that reads beside it of each shard, and within a disk budget waits for
 * it and harvests once an epoch.
 */
export async function harvest(plan: HarvestPlan, peer: InferencePeer, sink: ProgressSink, signal: AbortSignal): Promise<Harvested> {
  const pass = await HarvestPass.open(plan, peer, sink, signal);
  if (plan.stream === undefined) await pass.run(pass.firstLacked, plan.rowsWanted);
  else await streamed(pass, plan.stream, signal);
  return await pass.harvested();
}

/** What a pass does beside writing shards. */
export interface PassWatch {
  /** A shard is about to be passed over, or filled. */
  dealt(index: number): void;
  /** A shard is about to be written. */
  writing(shard: ShardBuffer): Promise<void>;
  /** A shard is stored. */
  stored(index: number): void;
}

/** Passes of the model over a corpus, each of which writes the shards that hooks lack. */
export class HarvestPass {
  readonly hooks: readonly HookShards[];
  readonly #plan: HarvestPlan;
  readonly #peer: InferencePeer;
  readonly #corpus: Corpus;
  readonly #sink: ProgressSink;
  readonly #signal: AbortSignal;
  #heldBack = 0;
  #progress: HarvestProgress | undefined;
  /** Shards reported: further epochs repeat some. */
  #reported = 0;

  private constructor(hooks: readonly HookShards[], plan: HarvestPlan, peer: InferencePeer, corpus: Corpus, sink: ProgressSink, signal: AbortSignal) {
    this.hooks = hooks;
    this.#plan = plan;
    this.#peer = peer;
    this.#corpus = corpus;
    this.#sink = sink;
    this.#signal = signal;
  }

  static async open(plan: HarvestPlan, peer: InferencePeer, sink: ProgressSink, signal: AbortSignal): Promise<HarvestPass> {
    const hooks = await Promise.all(plan.hooks.map((hook) => HookShards.open(plan, hook)));
    return new HarvestPass(hooks, plan, peer, await openCorpus(plan.corpus), sink, signal);
  }

  /** First shard that some hook lacks. */
  get firstLacked(): number {
    return Math.min(...this.hooks.map((hook) => hook.firstLacked));
  }

  /** Shards of the corpus, or of the rows wanted; undefined while neither was reached. */
  async end(): Promise<number | undefined> {
    for (const hook of this.hooks) {
      const { shards, rows } = hook.upTo(this.#plan.rowsWanted);
      if (rows >= this.#plan.rowsWanted || (await hook.set.end())?.shards === shards.length) return shards.length;
    }
    return undefined;
  }

  /** Reads the corpus from a shard on, until a shard would start at row `rowsWanted`. */
  async run(first: number, rowsWanted: number, watch?: PassWatch): Promise<void> {
    const complete = await Promise.all(this.hooks.map((hook) => hook.isComplete(rowsWanted)));
    if (complete.every(Boolean)) {
      for (const { index } of this.hooks[0]?.upTo(rowsWanted).shards.slice(first) ?? []) {
        watch?.dealt(index);
        watch?.stored(index);
      }
      return;
    }
    const progress = (this.#progress ??= await this.#start(first));
    const before = this.#record(first - 1);
    const start = { index: first, rowStart: (before?.rowStart ?? 0) + (before?.rows ?? 0), documentStart: before?.documentEnd ?? 0 };
    const { contextSize, shardTokens } = this.#plan.text;
    const ends = (await Promise.all(this.hooks.map((hook) => hook.set.end()))).filter((end) => end !== undefined);
    const shards = dealShards((from) => this.#documents(from), start, this.#peer, {
      contextSize,
      bosTokenId: this.#plan.bosTokenId,
      shardTokens,
      rowsWanted,
      end: Math.min(Infinity, ...ends.map((end) => end.shards)),
      hooksOf: (index) => {
        watch?.dealt(index);
        return this.hooks.filter((hook) => !hook.has(index)).map((hook) => hook.rowsOfHook);
      },
      recordOf: (index) => this.#record(index),
    });
    let last = first - 1;
    for await (const shard of written(filled(shards, this.#plan.text.dtype, this.#peer), (shard) => this.#write(shard, watch))) {
      last = shard.index;
      if (last < this.#reported) continue;
      this.#reported = last + 1;
      progress.report(this.#recordsBefore(this.#reported));
    }
    const read = this.#record(last);
    const rows = (read?.rowStart ?? 0) + (read?.rows ?? 0);
    if (rows < rowsWanted && ends.length < this.hooks.length) await this.#writeEnd(last + 1, rows);
  }

  async harvested(): Promise<Harvested> {
    const end = await this.hooks[0]?.set.end();
    return {
      hooks: this.hooks.map((hook) => hook.upTo(this.#plan.rowsWanted)),
      heldBack: end?.heldBack ?? this.#heldBack,
      emptyTexts: end?.emptyTexts ?? this.#corpus.stats.emptyTexts,
    };
  }

  async #start(first: number): Promise<HarvestProgress> {
    const { text, rowsWanted } = this.#plan;
    const { model } = await this.#peer.capabilities();
    if (model?.digest !== text.modelDigest) throw failedPrecondition("MODEL_CHANGED", `${this.#peer.model} is not the model that the run was made for: digest ${model?.digest ?? "none"}, wanted ${text.modelDigest}`);
    for (const { set } of this.hooks) await set.removeUnfinished();
    return await HarvestProgress.start(this.#corpus, rowsWanted, this.#recordsBefore(first), this.#sink, this.#signal);
  }

  async #write(shard: ShardBuffer, watch: PassWatch | undefined): Promise<ShardBuffer> {
    if (shard.hookNames.length > 0) {
      await watch?.writing(shard);
      const places = shard.places();
      for (const hook of this.hooks) if (shard.hookNames.includes(hook.set.source.hookName)) await hook.write(shard, places);
    }
    watch?.stored(shard.index);
    return shard;
  }

  #recordsBefore(shards: number): readonly ShardRecord[] {
    const hook = this.hooks.find(({ records }) => records.length >= shards) ?? this.hooks[0];
    return hook?.records.slice(0, shards) ?? [];
  }

  #record(index: number): ShardRecord | undefined {
    for (const { records } of this.hooks) if (records[index] !== undefined) return records[index];
    return undefined;
  }

  async #writeEnd(shards: number, rows: number): Promise<void> {
    const { documents, emptyTexts } = this.#corpus.stats;
    for (const { set } of this.hooks) await set.writeEnd({ shards, rows, documents, heldBack: this.#heldBack, emptyTexts });
  }

  /** Every document is read, so that those held back are counted whole; those of finished shards are passed over. */
  async *#documents(first: () => number): AsyncIterable<Document> {
    this.#heldBack = 0;
    for await (const document of this.#corpus.documents(this.#signal)) {
      if (isHeldBack(document.text)) this.#heldBack += 1;
      else if (document.docId >= first()) yield document;
    }
  }
}

/** Writes shards one after the other, each beside the calls that fill the next. */
async function* written(shards: AsyncIterable<ShardBuffer>, write: (shard: ShardBuffer) => Promise<ShardBuffer>): AsyncIterable<ShardBuffer> {
  let writing: Promise<ShardBuffer> | undefined;
  for await (const shard of shards) {
    if (writing !== undefined) yield await writing;
    writing = write(shard);
    writing.catch(() => undefined);
  }
  if (writing !== undefined) yield await writing;
}
