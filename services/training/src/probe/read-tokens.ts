import { isHeldBack, type CorpusSource, type Document } from "@mistral-sae/corpus";
import { spreadDocuments } from "../evaluate/held-back.ts";
import { documentBatches, windowsOfDocument, type WindowOptions } from "../harvest/token-windows.ts";
import type { InferencePeer } from "../peer/inference-peer.ts";
import { inFlight } from "../peer/in-flight.ts";
import type { StageContext } from "../threads/stage-thread.ts";
import { ProbeNames, TokenTable } from "./token-table.ts";

/** Share of the tokens that are read to test. */
const TEST_SHARE = 0.2;
const REQUESTS_IN_FLIGHT = 2;

/** Tokens to train probes on and to test them on. */
export interface ProbeTokens {
  readonly train: TokenTable;
  readonly test: TokenTable;
  readonly names: ProbeNames;
}

/** Reads tokens of trained-on documents to train on and of held-back ones to test on, both spread over the corpus. */
export async function readTokens(corpus: CorpusSource, tokens: number, options: WindowOptions, peer: InferencePeer, context: StageContext): Promise<ProbeTokens> {
  const names = new ProbeNames();
  const forTest = Math.max(1, Math.floor(tokens * TEST_SHARE));
  const read = async (most: number, wanted: (document: Document) => boolean, before: number): Promise<TokenTable> => {
    const table = new TokenTable(names);
    const documents = documentBatches(spreadDocuments(corpus, most, wanted, context.signal));
    const replies = inFlight(documents, REQUESTS_IN_FLIGHT, async (batch) => ({ batch, tokens: await peer.tokenizeWithText(batch.map(({ text }) => text)) }));
    for await (const { batch, tokens: cut } of replies) {
      for (const [at, document] of batch.entries()) {
        const own = cut[at];
        if (own !== undefined) table.addDocument(windowsOfDocument(document.docId, own, options), own.strTokens, document.source, most);
      }
      context.progress({ stage: "read", doneUnits: before + table.size, totalUnits: tokens, unit: "tokens" });
      if (table.size >= most) break;
    }
    return table;
  };
  const test = await read(forTest, ({ text }) => isHeldBack(text), 0);
  return { test, train: await read(tokens - forTest, ({ text }) => !isHeldBack(text), test.size), names };
}
