import type { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { type Handlers, invalidArgument } from "@mistral-sae/rpc";
import { readPrompts, readTokens, renderChat, ROLE_NUMBERS, tokenSequence } from "../wire/prompt.ts";
import type { Parts } from "./parts.ts";

type Names = "tokenize" | "detokenize" | "applyChatTemplate";

/** The handlers that turn text into ids and back. They read texts of any length: the context binds prompts alone. */
export function tokenHandlers({ models }: Parts): Pick<Handlers<typeof InferenceService>, Names> {
  return {
    tokenize: async ({ model, prompts, withStrTokens }, { signal }) => {
      const { tokenizer, reader } = models.use(model);
      const read = await readPrompts((i) => `prompts[${i}]`, prompts, { ...reader, nCtx: Infinity }, signal);
      return { sequences: read.map((tokens) => tokenSequence(tokens, withStrTokens ? tokenizer : undefined)) };
    },
    detokenize: async ({ model, sequences, skipSpecialTokens, withStrTokens }) => {
      const { tokenizer, reader } = models.use(model);
      const read = sequences.map((sequence, i) =>
        sequence.tokenIds.length === 0 ? tokenizer.tokens(new Uint32Array()) : readTokens(`sequences[${i}]`, sequence, { ...reader, nCtx: Infinity }),
      );
      return {
        texts: read.map(({ ids }) => tokenizer.decode(ids, { skipSpecial: skipSpecialTokens })),
        sequences: withStrTokens ? read.map((tokens) => tokenSequence(tokens, tokenizer)) : [],
      };
    },
    applyChatTemplate: async ({ model, chat }) => {
      const { tokenizer } = models.use(model);
      if (chat === undefined) throw invalidArgument("chat", "is not set, wanted a conversation");
      const rendered = await renderChat("chat", chat, tokenizer);
      return {
        tokens: tokenSequence(rendered, tokenizer),
        text: rendered.text,
        spans: rendered.spans.map(({ role, start, end }) => ({ role: ROLE_NUMBERS[role], start, end })),
      };
    },
  };
}
