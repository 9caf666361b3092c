import { create } from "@bufbuild/protobuf";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { TokenSequenceSchema, type TokenSequence } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import type { Intervention } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { InferenceService, type GetCapabilitiesResponse } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { createClient, internal, type Client } from "@mistral-sae/rpc";
import { f32View, type FloatDType } from "@mistral-sae/tensor";
import { patiently, type Patience } from "./patience.ts";
import { isSpecial, packBits, type Tokens } from "./tokens.ts";

/** Activations of one hook of one prompt. */
export interface PromptRows {
  readonly prompt: number;
  readonly hookName: string;
  /** Position of the first row. */
  readonly start: number;
  /** [rows, width] in the type asked for; valid during the call only. */
  readonly bytes: Uint8Array;
}

/** Scores of one sequence, [n - 1] each; entry i is of the step from token i to token i + 1. */
export interface SequenceScores {
  readonly logprobs: Float32Array;
  /** Without the interventions. */
  readonly uneditedLogprobs: Float32Array;
  /** KL(unedited || edited), nats. */
  readonly kl: Float32Array;
}

const WIRE: Readonly<Record<Exclude<FloatDType, "F64">, DataType>> = { F32: DataType.F32, F16: DataType.F16, BF16: DataType.BF16 };

/** The calls to the inference service that training needs. All are reads and are repeated while it is away. */
export class InferencePeer {
  readonly model: string;
  readonly #client: Client<typeof InferenceService>;
  readonly #patience: Patience;

  /** @param model models/{model}; empty for the only one loaded. */
  constructor(address: string, model: string, patience: Patience) {
    this.#client = createClient(InferenceService, address);
    this.model = model;
    this.#patience = patience;
  }

  async capabilities(): Promise<GetCapabilitiesResponse> {
    return await this.#ask((signal) => this.#client.getCapabilities({ model: this.model }, { signal }));
  }

  /** Token ids of texts, without BOS. */
  async tokenize(texts: readonly string[]): Promise<Tokens[]> {
    const prompts = texts.map((value) => ({ prompt: { case: "text" as const, value }, prependBos: false }));
    const { sequences } = await this.#ask((signal) => this.#client.tokenize({ model: this.model, prompts }, { signal }));
    if (sequences.length !== texts.length) throw shortReply("Tokenize", sequences.length, texts.length);
    return sequences.map(tokensOf);
  }

  /** Token ids of texts, without BOS, with the string of each token. */
  async tokenizeWithText(texts: readonly string[]): Promise<(Tokens & { readonly strTokens: readonly string[] })[]> {
    const prompts = texts.map((value) => ({ prompt: { case: "text" as const, value }, prependBos: false }));
    const { sequences } = await this.#ask((signal) => this.#client.tokenize({ model: this.model, prompts, withStrTokens: true }, { signal }));
    if (sequences.length !== texts.length) throw shortReply("Tokenize", sequences.length, texts.length);
    return sequences.map((sequence) => ({ ...tokensOf(sequence), strTokens: sequence.strTokens }));
  }

  /** Runs sequences once and hands over every row of each at each hook, in pieces. Rows may be handed over twice after a broken call. */
  async forward(hookNames: readonly string[], dtype: FloatDType, sequences: readonly Sequence[], take: (rows: PromptRows) => void): Promise<void> {
    const width = dtype === "F32" ? 4 : 2;
    const prompts = sequences.map((sequence) => ({ prompt: { case: "tokens" as const, value: sequenceOf(sequence) } }));
    await this.#ask(async (signal) => {
      const rows = new Map(hookNames.map((hookName) => [hookName, new Uint32Array(sequences.length)]));
      const request = { model: this.model, prompts, hookNames: [...hookNames], outputDtype: WIRE[dtype as "F32"] };
      for await (const { promptIndex, hookName, tokenStart, tensor } of this.#client.forward(request, { signal })) {
        const [count, columns] = tensor?.shape ?? [];
        const seen = rows.get(hookName);
        if (seen === undefined || tensor === undefined || count === undefined || tensor.data.length !== count * (columns ?? 0) * width) throw internal("FORWARD_REPLY", "a Forward reply has no whole rows of a hook that was asked for");
        seen[promptIndex] = (seen[promptIndex] ?? 0) + count;
        take({ prompt: promptIndex, hookName, start: tokenStart, bytes: tensor.data });
      }
      for (const seen of rows.values()) {
        const short = sequences.findIndex(({ ids }, at) => ids.length !== seen[at]);
        if (short >= 0) throw shortReply("Forward", seen[short] ?? 0, sequences[short]?.ids.length ?? 0);
      }
    });
  }

  /** Scores sequences under several lots of interventions; the unedited model runs once for all. @returns Of each variant, of each sequence. */
  async score<Name extends string>(sequences: readonly Sequence[], variants: Readonly<Record<Name, readonly Intervention[]>>): Promise<Record<Name, SequenceScores[]>> {
    const lots = Object.entries<readonly Intervention[]>(variants).map(([variantId, interventions]) => ({ variantId, interventions: [...interventions] }));
    const request = { model: this.model, sequences: sequences.map(sequenceOf), variants: lots, withKl: true };
    return await this.#ask(async (signal) => {
      const scores = new Map(lots.map(({ variantId }) => [variantId, sequences.map((): SequenceScores | undefined => undefined)]));
      for await (const { sequenceIndex, variantId, logprobs, uneditedLogprobs, kl } of this.#client.scoreTokens(request, { signal })) {
        const own = scores.get(variantId);
        if (own === undefined || logprobs === undefined || kl === undefined || uneditedLogprobs === undefined) throw internal("SCORE_REPLY", "a ScoreTokens reply lacks a tensor or its variant");
        own[sequenceIndex] = { logprobs: f32View(logprobs.data), uneditedLogprobs: f32View(uneditedLogprobs.data), kl: f32View(kl.data) };
      }
      const whole = [...scores].map(([variantId, own]) => [variantId, own.map((score, at) => wholeScore(score, sequences[at]?.ids.length ?? 0))]);
      return Object.fromEntries(whole) as Record<Name, SequenceScores[]>;
    });
  }

  async #ask<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return await patiently(this.#patience, () => call(this.#patience.signal));
  }
}

/** Ids that are read as they are, with the special ones marked. */
export interface Sequence {
  readonly ids: Uint32Array;
  /** 1 for special tokens [ids.length]. */
  readonly special: Uint8Array;
}

export function sequenceOf({ ids, special }: Sequence): TokenSequence {
  return create(TokenSequenceSchema, { tokenIds: [...ids], isSpecial: packBits(special) });
}

function tokensOf(sequence: TokenSequence): Tokens {
  const ids = Uint32Array.from(sequence.tokenIds);
  const special = sequence.isSpecial.some((bits) => bits !== 0) ? Uint8Array.from(ids, (_, at) => Number(isSpecial(sequence.isSpecial, at))) : undefined;
  return { ids, special };
}

function wholeScore(score: SequenceScores | undefined, tokens: number): SequenceScores {
  if (score?.logprobs.length !== tokens - 1) throw shortReply("ScoreTokens", score?.logprobs.length ?? 0, tokens - 1);
  return score;
}

function shortReply(method: string, got: number, wanted: number): Error {
  return internal("SHORT_REPLY", `${method} replied with ${got} of ${wanted}`);
}
