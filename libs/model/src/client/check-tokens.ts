import { InputError } from "@mistral-sae/tensor";
import type { EngineInfo } from "../engine.ts";

/** Throws InputError when the model cannot read the tokens. */
export function checkTokens(tokens: Uint32Array, { nCtx, dVocab }: Pick<EngineInfo, "nCtx" | "dVocab">, field: string): void {
  if (tokens.length === 0) throw new InputError("a sequence has no tokens", { field, got: "0 tokens", wanted: `1 to ${nCtx} tokens` });
  if (tokens.length > nCtx) throw new InputError("a sequence is longer than the context", { field, got: `${tokens.length} tokens`, wanted: `at most ${nCtx} tokens` });
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i]! >= dVocab) throw new InputError("a token id lies outside the vocabulary", { field: `${field}[${i}]`, got: tokens[i], wanted: `below ${dVocab}` });
  }
}
