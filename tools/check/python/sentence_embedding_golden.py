"""Writes a tiny sentence-embedding model, in the folders of sentence-transformers, and what transformers and torch make of some texts.

    $MISTRAL_SAE_BENCH_PYTHON tools/check/python/sentence_embedding_golden.py services/feature-index/test/fixtures/sentence-model

The weights are drawn from a seed: the model knows nothing, but its numbers are a BERT's. golden.json holds, for texts of several
lengths and scripts, the ids of the tokenizer, and the mean-pooled and CLS vectors scaled to length 1.
"""

import io
import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.onnx._internal.torchscript_exporter import onnx_proto_utils
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

MAX_TOKENS = 24
TEXTS = [
    "swimming in the deep sea",
    "Kings and Queens, of England!",
    "Café naïve — ÜBER Straße",
    "dogs, puppies & cats",
    "东京 tower",
    "unaffordable antidisestablishmentarianism",
    "",
    " ".join(["the little dog ran over the green hill and saw the sea"] * 6),
]


def tokenizer_of() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=240, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.train_from_iterator(TEXTS, trainer)
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    return tokenizer


class States(torch.nn.Module):
    def __init__(self, model: BertModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).last_hidden_state


def export(model: BertModel, path: Path) -> None:
    # The exporter asks for the package onnx only to add functions of onnxscript, which this graph has none of.
    onnx_proto_utils._add_onnxscript_fn = lambda model_bytes, _: model_bytes
    ids = torch.randint(5, 50, (2, 7))
    # With nothing masked the trace would leave the mask out of the graph.
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    names = ["input_ids", "attention_mask", "token_type_ids"]
    buffer = io.BytesIO()
    torch.onnx.export(
        States(model).eval(),
        (ids, mask, torch.zeros_like(ids)),
        buffer,
        dynamo=False,
        input_names=names,
        output_names=["last_hidden_state"],
        dynamic_axes={name: {0: "batch", 1: "sequence"} for name in [*names, "last_hidden_state"]},
        opset_version=17,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())


def main() -> None:
    folder = Path(sys.argv[1])
    torch.manual_seed(17)
    tokenizer = tokenizer_of()
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, max_position_embeddings=MAX_TOKENS
    )
    config._attn_implementation = "eager"
    model = BertModel(config, add_pooling_layer=False).eval()
    # Weights as they are drawn leave all texts alike.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(12)
    export(model, folder / "onnx" / "model.onnx")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]", model_max_length=MAX_TOKENS)
    fast.save_pretrained(folder)
    write(folder / "modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ])
    write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False})
    write(folder / "sentence_bert_config.json", {"max_seq_length": MAX_TOKENS, "do_lower_case": False})
    cases = []
    for text in TEXTS:
        plain = fast(text, add_special_tokens=False)["input_ids"]
        room = MAX_TOKENS - 2
        pieces = [[fast.cls_token_id, *plain[at : at + room], fast.sep_token_id] for at in range(0, max(1, len(plain)), room)]
        assert len(pieces) > 1 or pieces[0] == fast(text)["input_ids"]
        vectors = {"mean": torch.zeros(32), "cls": torch.zeros(32)}
        for piece in pieces:
            ids = torch.tensor([piece])
            with torch.no_grad():
                states = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
            for name, pooled in (("mean", states.mean(0)), ("cls", states[0])):
                vectors[name] = vectors[name] + len(piece) * torch.nn.functional.normalize(pooled, dim=0)
        cases.append({"text": text, "pieces": pieces} | {name: torch.nn.functional.normalize(vector, dim=0).tolist() for name, vector in vectors.items()})
    write(folder / "golden.json", cases)


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
