"""Step 1: a byte-level BPE tokenizer with Mistral's control tokens, and the training text as token streams."""

import json
import random
import re
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

VOCAB = 4096
SPECIAL = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
BOS, EOS, INST, INST_END = 1, 2, 3, 4
CHAT_TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' %}{%- set sys = messages[0]['content'] + '\\n\\n' %}{%- set msgs = messages[1:] %}"
    "{%- else %}{%- set sys = '' %}{%- set msgs = messages %}{%- endif %}{{- bos_token }}{%- for m in msgs %}"
    "{%- if m['role'] == 'user' %}{{- '[INST] ' + (sys if loop.first else '') + m['content'] + '[/INST]' }}"
    "{%- elif m['role'] == 'assistant' %}{{- ' ' + m['content'] + eos_token }}"
    "{%- else %}{{- raise_exception('Only user, assistant and a leading system role are supported') }}{%- endif %}{%- endfor %}"
)
NOUNS = (
    "cat dog bird fish boat sea ship ball tree park rabbit bear lion frog duck mouse horse cow pig fox wolf monkey elephant king "
    "queen princess prince castle dragon witch fairy garden flower house car truck train doll toy cake cookie apple banana bread "
    "soup egg milk kitchen book school teacher mom dad grandma brother sister friend forest river lake mountain beach snow rain sun "
    "moon star hat shoe dress coat box key door window bed chair robot pirate treasure island bee butterfly ant spider snake turtle owl"
).split()


def read(name):
    with open(f"docs/{name}.jsonl", encoding="utf8") as lines:
        return [json.loads(line)["text"] for line in lines]


def train_tokenizer(stories, books):
    """The vocabulary leans to the simple stories: every third passage of the books is enough."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), min_frequency=2
    )
    tokenizer.train_from_iterator([*stories, *books[::3]], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", BOS)]
    )
    return tokenizer


def write_tokenizer(tokenizer):
    Path("out").mkdir(exist_ok=True)
    tokenizer.save("out/tokenizer.json")

    def special(content):
        return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}

    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {str(i): special(content) for i, content in enumerate(SPECIAL)},
        **names,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    Path("out/tokenizer_config.json").write_text(json.dumps(config, indent=1))
    Path("out/special_tokens_map.json").write_text(json.dumps(names, indent=1))


def instruction(text, rng):
    """A request that the story answers, from one or two nouns in it; None when it names none of them."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    nouns = [noun for noun in NOUNS if noun in words or noun + "s" in words]
    if not nouns:
        return None
    rng.shuffle(nouns)
    chosen = [("an " if noun[0] in "aeiou" else "a ") + noun for noun in nouns[: rng.choice([1, 1, 2])]]
    if len(chosen) == 1:
        forms = ["Tell me a story about {}.", "Write a short story about {}.", "Please tell a story with {} in it."]
    else:
        forms = ["Tell me a story about {} and {}.", "Write a story with {} and {}."]
    return rng.choice(forms).format(*chosen)


def main():
    rng = random.Random(3)
    stories, books = read("stories_train"), read("books_train")
    tokenizer = train_tokenizer(stories, books)
    write_tokenizer(tokenizer)

    def encode(text):
        return tokenizer.encode(text, add_special_tokens=False).ids

    def plain(text):
        return [BOS, *encode(text), EOS]

    def chat(text):
        request = instruction(text, rng)
        if request is None:
            return plain(text)
        return [BOS, INST, *encode(" " + request), INST_END, *encode(" " + text), EOS]

    Path("bin").mkdir(exist_ok=True)
    streams = {
        "stories": map(plain, stories),
        "chat": map(chat, stories),
        "books": map(plain, books),
        "stories_held": map(plain, read("stories_held")),
        "books_held": map(plain, read("books_held")),
    }
    for name, documents in streams.items():
        tokens = np.concatenate([np.array(document, dtype=np.uint16) for document in documents])
        tokens.tofile(f"bin/{name}.bin")
        print(name, len(tokens), "tokens")


if __name__ == "__main__":
    main()
