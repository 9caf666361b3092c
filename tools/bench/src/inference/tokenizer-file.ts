const specials = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"];

/** tokenizer.json with one token a byte, the rest of the vocabulary filled with tokens that no text gives. */
export function tokenizerJson(dVocab: number): object {
  const pieces = [...specials, ...byteCharacters()];
  const vocab = Object.fromEntries(Array.from({ length: dVocab }, (_, id) => [pieces[id] ?? `Ġt${id}`, id]));
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const bos = { SpecialToken: { id: "<s>", type_id: 0 } };
  const text = { Sequence: { id: "A", type_id: 0 } };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specials.map((content, id) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: { type: "TemplateProcessing", single: [bos, text], pair: [bos, text, bos, { Sequence: { id: "B", type_id: 0 } }], special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } } },
    decoder: byteLevel,
    model: { type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab, merges: [] },
  };
}

/** tokenizer_config.json beside it. */
export function tokenizerConfigJson(): object {
  return { add_bos_token: true, bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>", tokenizer_class: "PreTrainedTokenizerFast" };
}

/** The character that stands for each byte in a byte-level vocabulary: itself if printable, else one from 256 on. */
function byteCharacters(): string[] {
  const printable = (byte: number): boolean => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}
