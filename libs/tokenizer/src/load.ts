import { access } from "node:fs/promises";
import { join } from "node:path";
import { InputError } from "@mistral-sae/tensor";
import type { TokenCodec } from "./codec.ts";
import { readHfCodec } from "./hf-codec.ts";
import { readTokenizerConfig } from "./tokenizer-config.ts";
import { Tokenizer } from "./tokenizer.ts";

/** Tokenizer files by preference, each with what reads it. */
const FORMATS: readonly { file: string; read: (path: string) => Promise<TokenCodec> }[] = [
  { file: "tokenizer.json", read: readHfCodec },
];

/**
 * The tokenizer of a model folder.
 *
 * @throws InputError when the folder holds no tokenizer file this program reads.
 */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  for (const { file, read } of FORMATS) {
    const path = join(folder, file);
    const present = await access(path).then(
      () => true,
      () => false,
    );
    if (present) return new Tokenizer(await read(path), await readTokenizerConfig(folder));
  }
  const wanted = FORMATS.map(({ file }) => file).join(" or ");
  throw new InputError(`${folder}: holds no tokenizer (${wanted})`, { file: folder, wanted });
}
