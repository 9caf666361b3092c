import type { JobContext } from "@mistral-sae/jobs";
import type { CorpusRecord, IndexRecord } from "../catalogue/records.ts";

/** About how many tokens the first windows of a corpus hold. */
export function tokensOf(corpus: CorpusRecord, nSequences: number): number {
  return Math.round((corpus.nTokens * nSequences) / corpus.nSequences);
}

/** Tokens of blocks under way, by operation; those of finished blocks are in the operation's state. */
const underWay = new Map<string, number>();

/** Reports the tokens encoded so far, those of other blocks included. */
export function tokenProgress(ctx: Pick<JobContext, "name" | "state" | "progress">, { corpus, nSequences }: IndexRecord): { add(tokens: number): void; keep(tokens: number): void; end(): void } {
  const totalUnits = tokensOf(corpus, nSequences);
  const finished = () => (ctx.state.get("tokens") as number | undefined) ?? 0;
  let mine = 0;
  const count = (tokens: number) => {
    mine += tokens;
    const all = (underWay.get(ctx.name) ?? 0) + tokens;
    if (all > 0) underWay.set(ctx.name, all);
    else underWay.delete(ctx.name);
    return all;
  };
  return {
    add: (tokens) => {
      const running = count(tokens);
      ctx.progress({ stage: "encode", doneUnits: Math.min(totalUnits, finished() + running), totalUnits, unit: "tokens" });
    },
    keep: (tokens) => ctx.state.set("tokens", finished() + tokens),
    end: () => void count(-mine),
  };
}
