import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { InputError } from "@mistral-sae/tensor";
import { Codec } from "./codec.ts";
import { messageOf } from "./fields.ts";
import { type FormatName, readFormat } from "./formats/formats.ts";
import { EncoderThread } from "./thread/encoder-thread.ts";
import { readTokenizerConfig } from "./tokenizer-config.ts";
import { Tokenizer } from "./tokenizer.ts";

/** Tokenizer files by preference. */
const FORMATS: readonly { readonly format: FormatName; readonly file: RegExp; readonly name: string }[] = [
  { format: "huggingface", file: /^tokenizer\.json$/, name: "tokenizer.json" },
  { format: "tekken", file: /^tekken\.json$/, name: "tekken.json" },
  { format: "sentencepiece", file: /^tokenizer\.model\.v\d{1,2}(?:m\d+)?$/, name: "tokenizer.model.v1 to .v7" },
  { format: "sentencepiece", file: /^tokenizer\.model$/, name: "tokenizer.model" },
];

/** Bytes of a tokenizer file that is read where the call is made. */
const SMALL_FILE = 1 << 19;

/**
 * The tokenizer of a model folder. Where several files lie there, the first of these is read:
 *
 * 1. `tokenizer.json`, which transformers and TransformerLens read too, so that positions and features agree with
 *    theirs, and which holds the tokens that a fine-tune added;
 * 2. `tekken.json`;
 * 3. `tokenizer.model.v1` to `.v7`, the latest;
 * 4. `tokenizer.model`.
 *
 * `tokenizer_config.json`, `special_tokens_map.json`, `chat_template.jinja` and `chat_template.json` are read beside
 * it. Without a chat template, conversations get the instruct format of the tokenizer's version.
 *
 * @throws InputError when the folder holds no tokenizer file this program reads, or one that is damaged.
 */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw new InputError(`${folder}: cannot be read (${messageOf(error)})`, { file: folder, wanted: "a model folder" });
  });
  for (const { format, file } of FORMATS) {
    const name = names.filter((candidate) => file.test(candidate)).toSorted(byVersion).at(-1);
    if (name === undefined) continue;
    const [codec, config] = await Promise.all([readCodec(format, join(folder, name)), readTokenizerConfig(folder)]);
    return new Tokenizer(codec, config);
  }
  const wanted = FORMATS.map(({ name }) => name).join(", ");
  throw new InputError(`${folder}: holds no tokenizer (${wanted})`, { file: folder, wanted });
}

/** Published vocabularies take a good part of a second to read, which other work on this thread cannot wait for. */
async function readCodec(format: FormatName, path: string): Promise<Codec> {
  const small = await stat(path).then(
    ({ size }) => size <= SMALL_FILE,
    () => true,
  );
  if (small) {
    const source = await readFormat(format, path);
    return new Codec(source, new EncoderThread(source.model));
  }
  const thread = new EncoderThread();
  return new Codec(await thread.read(format, path), thread);
}

function byVersion(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}
