import { Tokenizer } from "@huggingface/tokenizers";
import { InputError } from "@mistral-sae/tensor";
import * as ort from "onnxruntime-node";
import type { SentenceFolder } from "./sentence-folder.ts";

/** Vectors of length 1, and how many texts were longer than what the model reads at once. */
export interface SentenceVectors {
  readonly vectors: readonly Float32Array[];
  readonly nInPieces: number;
}

/** A piece of a text that the model reads at once, special tokens included. */
interface Piece {
  readonly text: number;
  readonly ids: readonly number[];
}

/** The part of a tokenizer that is used here; the package's own types cannot be resolved. */
interface TextTokenizer {
  encode(text: string, options?: { readonly add_special_tokens?: boolean }): { readonly ids: number[] };
}

const INPUTS = ["input_ids", "attention_mask", "token_type_ids"] as const;
const OUTPUTS = ["last_hidden_state", "token_embeddings"] as const;
const TOKENS_A_RUN = 4_096;

/** Runs a sentence-embedding model on onnxruntime. */
export class SentenceModel {
  readonly #folder: SentenceFolder;
  readonly #tokenizer: TextTokenizer;
  readonly #session: ort.InferenceSession;
  readonly #output: string;
  readonly #prefix: readonly number[];
  readonly #suffix: readonly number[];

  private constructor(folder: SentenceFolder, tokenizer: TextTokenizer, session: ort.InferenceSession) {
    this.#folder = folder;
    this.#tokenizer = tokenizer;
    this.#session = session;
    const foreign = session.inputNames.find((name) => !(INPUTS as readonly string[]).includes(name));
    if (foreign !== undefined) throw new InputError(`${folder.modelFile}: cannot be fed`, { file: folder.modelFile, field: "inputs", got: foreign, wanted: INPUTS.join(", ") });
    const output = OUTPUTS.find((name) => session.outputNames.includes(name));
    if (output === undefined) throw new InputError(`${folder.modelFile}: gives no vectors of tokens`, { file: folder.modelFile, field: "outputs", got: session.outputNames.join(", "), wanted: OUTPUTS.join(" or ") });
    this.#output = output;
    // What the tokenizer puts around a text, seen at one.
    const inner = tokenizer.encode("a", { add_special_tokens: false }).ids;
    const whole = tokenizer.encode("a").ids;
    const at = whole.findIndex((_, i) => inner.every((id, j) => whole[i + j] === id));
    this.#prefix = whole.slice(0, at);
    this.#suffix = whole.slice(at + inner.length);
  }

  /** @throws InputError when the folder's files cannot be used. */
  static async open(folder: SentenceFolder, threads: number): Promise<SentenceModel> {
    const named = (file: string, error: unknown) => new InputError(`${file}: cannot be read (${error instanceof Error ? error.message : String(error)})`, { file });
    let tokenizer: TextTokenizer;
    try {
      tokenizer = new Tokenizer(folder.tokenizer, folder.tokenizerConfig) as TextTokenizer;
    } catch (error) {
      throw named(`${folder.folder}/tokenizer.json`, error);
    }
    const options = { intraOpNumThreads: threads, interOpNumThreads: 1, executionMode: "sequential", logSeverityLevel: 3, extra: { session: { intra_op: { allow_spinning: "0" } } } } as const;
    let session: ort.InferenceSession;
    try {
      session = await ort.InferenceSession.create(folder.modelFile, options);
    } catch (error) {
      throw named(folder.modelFile, error);
    }
    return new SentenceModel(folder, tokenizer, session);
  }

  /** Ids of a text as the model reads them, special tokens included: more than one list where it is longer than that. */
  pieces(text: string): number[][] {
    const { maxTokens, lowerCase } = this.#folder;
    const ids = this.#tokenizer.encode(lowerCase ? text.toLowerCase() : text, { add_special_tokens: false }).ids;
    const room = maxTokens - this.#prefix.length - this.#suffix.length;
    const pieces: number[][] = [];
    for (let start = 0; start === 0 || start < ids.length; start += room) pieces.push([...this.#prefix, ...ids.slice(start, start + room), ...this.#suffix]);
    return pieces;
  }

  /** The vector of a text in pieces is the mean of theirs, each as much as it has tokens. */
  async embed(texts: readonly string[], as: "query" | "text"): Promise<SentenceVectors> {
    const prompt = this.#folder.prompts[as];
    const piecesOf = texts.map((text) => this.pieces(prompt + text));
    const pieces: Piece[] = piecesOf.flatMap((lists, text) => lists.map((ids) => ({ text, ids }))).sort((a, b) => a.ids.length - b.ids.length);
    const sums: Float32Array[] = [];
    for (let start = 0; start < pieces.length; ) {
      // Sorted by length, the last one is the longest.
      let end = start + 1;
      while (end < pieces.length && (pieces[end] as Piece).ids.length * (end + 1 - start) <= TOKENS_A_RUN) end += 1;
      const batch = pieces.slice(start, end);
      for (const [i, vector] of (await this.#run(batch)).entries()) {
        const { text, ids } = batch[i] as Piece;
        const sum = (sums[text] ??= new Float32Array(vector.length));
        for (let j = 0; j < sum.length; j++) sum[j]! += ids.length * (vector[j] as number);
      }
      start = end;
    }
    return { vectors: sums.map(unit), nInPieces: piecesOf.filter(({ length }) => length > 1).length };
  }

  async close(): Promise<void> {
    await this.#session.release();
  }

  /** Vectors of length 1, one a piece. */
  async #run(batch: readonly Piece[]): Promise<Float32Array[]> {
    const longest = batch.reduce((most, { ids }) => Math.max(most, ids.length), 0);
    const ids = new BigInt64Array(batch.length * longest);
    const mask = new BigInt64Array(batch.length * longest);
    for (const [row, piece] of batch.entries()) {
      for (const [i, id] of piece.ids.entries()) {
        ids[row * longest + i] = BigInt(id);
        mask[row * longest + i] = 1n;
      }
    }
    const values = { input_ids: ids, attention_mask: mask, token_type_ids: new BigInt64Array(ids.length) };
    const names = INPUTS.filter((name) => this.#session.inputNames.includes(name));
    const feeds = Object.fromEntries(names.map((name) => [name, new ort.Tensor("int64", values[name], [batch.length, longest])]));
    const { [this.#output]: output } = await this.#session.run(feeds, [this.#output]);
    const states = output?.data as Float32Array;
    const width = states.length / (batch.length * longest);
    return batch.map((piece, row) => this.#pool(states.subarray(row * longest * width, (row * longest + piece.ids.length) * width), width));
  }

  /** Vectors of a piece's tokens [tokens, width], padding left out → one of length 1. */
  #pool(states: Float32Array, width: number): Float32Array {
    if (this.#folder.pooling === "cls") return unit(states.slice(0, width));
    const sum = new Float32Array(width);
    for (let i = 0; i < states.length; i++) sum[i % width]! += states[i] as number;
    return unit(sum);
  }
}

function unit(vector: Float32Array): Float32Array {
  const norm = Math.hypot(...vector);
  return norm > 0 ? vector.map((value) => value / norm) : vector;
}
