import { InputError } from "@mistral-sae/tensor";
import type { BpeModel } from "../bpe/model.ts";
import type { FormatName } from "../formats/formats.ts";
import type { TokenizerSource } from "../formats/source.ts";

/** How texts are encoded. */
export interface EncodeMode {
  /** Control tokens that a text spells are text: what people write cannot steer the model. */
  readonly plain: boolean;
  /** Tell where each token stands. */
  readonly spans: boolean;
}

/** A text as tokens. */
export interface EncodedText {
  readonly ids: Uint32Array<ArrayBuffer>;
  /** [start, end) of each token in UTF-16 units of the text, two entries a token; only when asked for. */
  readonly offsets: Uint32Array<ArrayBuffer> | undefined;
}

/** What the thread starts with: nothing, when it is to read the file itself. */
export type ThreadData = BpeModel | undefined;

export type Job =
  | { readonly kind: "read"; readonly file: string; readonly format: FormatName }
  | { readonly kind: "encode"; readonly texts: readonly string[]; readonly mode: EncodeMode };

export type Outcome =
  | { readonly kind: "source"; readonly source: TokenizerSource }
  | { readonly kind: "encoded"; readonly texts: readonly EncodedText[] }
  | { readonly kind: "failed"; readonly failure: Failure };

/** An error on its way between threads, where classes get lost. */
export interface Failure {
  readonly message: string;
  readonly input: boolean;
  readonly details: { readonly file?: string; readonly field?: string; readonly got?: string; readonly wanted?: string };
}

export function failureOf(error: unknown): Failure {
  if (!(error instanceof InputError)) return { message: error instanceof Error ? (error.stack ?? error.message) : String(error), input: false, details: {} };
  const { summary, file, field, got, wanted } = error;
  const details = { ...(file === undefined ? {} : { file }), ...(field === undefined ? {} : { field }), ...(got === undefined ? {} : { got }), ...(wanted === undefined ? {} : { wanted }) };
  return { message: summary, input: true, details };
}

export function errorOf({ message, input, details }: Failure): Error {
  return input ? new InputError(message, details) : new Error(message);
}
