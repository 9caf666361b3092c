"""Writes the fixtures of libs/tokenizer/test/formats.test.ts and instruct.test.ts: small tokenizers trained on the text below,
and what sentencepiece, tiktoken and mistral-common make of texts and conversations with them.

Needs sentencepiece and mistral-common: $MISTRAL_SAE_BENCH_PYTHON tools/check/python/tokenizer_golden.py.
"""
import base64
import collections
import io
import json
import pathlib

import regex
import sentencepiece
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

fixtures = pathlib.Path(__file__).resolve().parents[3] / "libs/tokenizer/test/fixtures"
SUBJECTS = ["the miller", "a heron", "my neighbour", "the old lighthouse", "every engineer", "a small robot", "the river"]
VERBS = ["watches", "repairs", "remembers", "paints", "measures", "carries", "forgets"]
OBJECTS = ["the bridge", "two lanterns", "a broken clock", "the harbour", "its own shadow", "thirty apples", "an unread letter"]
ENDS = ["before sunrise.", "without a word.", "in the rain!", "for 1,234 days;", "and nobody knows why?", "(or so they say).", "near 3.14 km north."]
SENTENCES = [f"{s.capitalize()} {v} {o} {e}" for i, s in enumerate(SUBJECTS) for j, v in enumerate(VERBS) for k, o in enumerate(OBJECTS) for e in ENDS[(i + j + k) % 7 :][:2]]
SENTENCES += ["Größe und Wärme, naïve café.", "наш старый мост", "def f(x):", "    return x + 1", "two  spaces   here"] * 9
TEXTS = [
    "", " ", "   ", "a", "The miller repairs the bridge.", " leading", "trailing ", "two  spaces   three", "line\nbreak\r\n\r\n\ttab",
    "Größe, naïve café", "наш мост", "漢字かな交じり", "🐟🐟 fish ☃", "👩‍👩‍👧‍👦 and 🇩🇪", "\u0000\u0001\u007f", "\u00a0nbsp\u3000wide\u0085nel\ufeffbom",
    "\u2581 the mark itself \u2581\u2581", "e\u0301 combining", "CamelCaseHTTPServer snake_case", "I'm you'LL don't", "1234567890 3.14", "!!!???...///\n/",
    "x" * 300, "the " * 80, " " * 70, "\n" * 20, "ABCdef" * 30, "def f(x):\n    return x + 1\n", "[REF] here[REF]", "a[REF]", "end of text \ud7a3\ud7a3",
]  # fmt: skip
CONTENTS = ["Tell me of the river.", "  spaces around  ", "two\n\nlines", "[INST] no control </s> [/INST]", "Grüße 🐟"]
TURNS = ["u", "su", "uu", "uau", "suau", "suuau", "usu", "uaus", "suauau", "uasu", "usuau"]
ROLES = {"s": "system", "u": "user", "a": "assistant"}


def train_sentencepiece(control):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=model, model_type="bpe", vocab_size=700, byte_fallback=True, character_coverage=0.9995,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True, allow_whitespace_only_pieces=True,
        control_symbols=control, user_defined_symbols=["[REF]"], minloglevel=2, num_threads=1,
    )  # fmt: skip
    return model.getvalue()


def train_tekken(pattern, count):
    words = collections.Counter(w.encode() for s in SENTENCES for w in regex.findall(pattern, s + "\n"))
    parts = {w: [bytes([b]) for b in w] for w in words}
    ranks = [bytes([b]) for b in range(256)]
    while len(ranks) < count:
        pairs = collections.Counter()
        for w, n in words.items():
            for pair in zip(parts[w], parts[w][1:]):
                pairs[pair] += n
        (left, right), _ = max(pairs.items(), key=lambda item: (item[1], item[0]))
        ranks.append(left + right)
        for w, p in parts.items():
            i = 0
            while i + 1 < len(p):
                if p[i] == left and p[i + 1] == right:
                    p[i : i + 2] = [left + right]
                i += 1
    return ranks


def tekken_json(version, special):
    pattern = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    vocab = []
    for rank, token in enumerate(train_tekken(pattern, 440)):
        try:
            text = token.decode()
        except UnicodeDecodeError:
            text = None
        vocab.append({"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": text})
    config = {"pattern": pattern, "num_vocab_tokens": 440, "default_vocab_size": 420 + 24, "default_num_special_tokens": 24, "version": version}
    data = {"config": config, "vocab": vocab}
    if special:
        names = [*(t["token_str"] for t in Tekkenizer.DEPRECATED_SPECIAL_TOKENS), "[ARGS]", "[CALL_ID]", "[THINK]", "[/THINK]"]
        data["special_tokens"] = [{"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(names)]
    return data


def conversations(path):
    tokenizer = MistralTokenizer.from_file(str(path))
    cases = []
    for n, turns in enumerate(TURNS):
        messages = [{"role": ROLES[t], "content": CONTENTS[(n + i) % len(CONTENTS)]} for i, t in enumerate(turns)]
        try:
            cases.append({"messages": messages, "ids": tokenizer.encode_chat_completion(ChatCompletionRequest(messages=messages)).tokens})
        except Exception:  # what it refuses has to be refused
            cases.append({"messages": messages, "ids": None})
    return cases


def write(name, file, content, tokenizer_class):
    path = fixtures / name / file
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")
    tokenizer = tokenizer_class(str(path))
    ids = [tokenizer.encode(text, bos=False, eos=False) for text in TEXTS]
    texts = [{"text": text, "ids": i, "decoded": tokenizer.decode(i)} for text, i in zip(TEXTS, ids)]
    golden[name] = {"file": file, "size": tokenizer.n_words, "texts": texts, "conversations": conversations(path)}


golden = {}
TOOLS = ["[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]"]
write("sentencepiece-v1", "tokenizer.model.v1", train_sentencepiece([]), SentencePieceTokenizer)
write("sentencepiece-v2", "tokenizer.model.v2", train_sentencepiece(TOOLS), SentencePieceTokenizer)
write("sentencepiece-v3", "tokenizer.model.v3", train_sentencepiece(TOOLS), SentencePieceTokenizer)
write("sentencepiece-v7", "tokenizer.model.v7", train_sentencepiece([*TOOLS, "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"]), SentencePieceTokenizer)
write("tekken-v3", "tekken.json", tekken_json("v3", False), Tekkenizer.from_file)
write("tekken-v13", "tekken.json", tekken_json("v13", True), Tekkenizer.from_file)
(fixtures / "formats.json").write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")
