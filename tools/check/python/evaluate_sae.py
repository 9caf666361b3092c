"""Holds `mistral-sae sae evaluate` against transformers and sae-lens: the same SAE on the same text through the same model.

The model runs in transformers (f32), the SAE in sae-lens; sums are kept in f64. Exits with 1 when a figure differs by more than 1e-5 of
itself (dead and dense fractions: 1%).

What sae-lens' own `sae_lens.evals` defines otherwise, and why its numbers differ: its mse is not divided by d_in; its l1 leaves decoder
norms out; relative_reconstruction_bias is a mean over batches; cross-entropy with the SAE or with zeros edits BOS too and counts every
position; explained_variance is the same.

Needs torch, transformers, sae-lens: start `mistral-sae up`, then
python tools/check/python/evaluate_sae.py --sae FOLDER --corpus FILE.jsonl [--model FOLDER] [--documents 150] [--context-size 128]
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import torch
from sae_lens import SAE
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

root = pathlib.Path(__file__).resolve().parents[3]
command = [str(root / "node_modules/.bin/node"), str(root / "tools/cli/bin/mistral-sae.mjs"), "--json", "--quiet"]

parser = argparse.ArgumentParser()
parser.add_argument("--sae", required=True, help="SAELens folder of the model that `up` has loaded, at a hook_resid_pre")
parser.add_argument("--corpus", required=True, help="jsonl with a field text")
parser.add_argument("--model", default=str(root / "libs/demo-model/model"))
parser.add_argument("--documents", type=int, default=150)
parser.add_argument("--context-size", type=int, default=128)
args = parser.parse_args()

with open(args.corpus, encoding="utf-8") as file:
    texts = [json.loads(line)["text"] for line, _ in zip(file, range(args.documents))]


def ours():
    with tempfile.TemporaryDirectory() as folder:
        corpus = pathlib.Path(folder) / "text.jsonl"
        corpus.write_text("".join(json.dumps({"text": text, "source": "all"}) + "\n" for text in texts))
        run = lambda *words: json.loads(subprocess.run([*command, *words], check=True, stdout=subprocess.PIPE).stdout)
        name = run("sae", "register", args.sae, "--id", "check-evaluate", "--validate", "skip")["name"]
        try:
            return run("sae", "evaluate", name, "--corpus", str(corpus), "--all-documents", "--tokens", "100000000", "--context-size", str(args.context_size))
        finally:
            run("sae", "rm", name, "--force")


def theirs():
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(pathlib.Path(args.model) / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    sae = SAE.load_from_disk(args.sae, device="cpu")
    layer = int(re.fullmatch(r"blocks\.(\d+)\.hook_resid_pre", sae.cfg.metadata.hook_name).group(1))
    block = model.model.layers[layer]
    bos = model.config.bos_token_id
    # Rows of special tokens are not measured, and their residual stays as it is; a step that reads or predicts one is not counted.
    special = torch.tensor(sorted({bos} | {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}))
    norms = sae.W_dec.double().norm(dim=-1)
    rows, steps = [], []
    fired = torch.zeros(sae.cfg.d_sae, dtype=torch.float64)

    def run(ids, replacement=None):
        seen = {}
        untouched = torch.isin(ids[0], special)
        def before(_, inputs, keywords):
            x = inputs[0] if inputs else keywords["hidden_states"]
            seen["x"] = x.clone()
            if replacement is None:
                return None
            y = replacement(x)
            y[:, untouched] = x[:, untouched]
            return ((y, *inputs[1:]), keywords) if inputs else (inputs, {**keywords, "hidden_states": y})
        handle = block.register_forward_pre_hook(before, with_kwargs=True)
        try:
            return model(ids).logits[0].double().log_softmax(-1), seen["x"]
        finally:
            handle.remove()

    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False)
        for start in range(0, len(ids), args.context_size - 1):
            window = torch.tensor([[bos, *ids[start:start + args.context_size - 1]]])
            clean, x = run(window)
            spliced, _ = run(window, lambda x: sae.decode(sae.encode(x)))
            zero, _ = run(window, torch.zeros_like)
            plain = ~torch.isin(window[0], special)
            z = sae.encode(x)[0, plain].double()
            y = sae.decode(sae.encode(x))[0, plain].double()
            x = x[0, plain].double()
            fired += (z != 0).sum(0)
            rows.append(torch.stack([(x - y).square().sum(-1), x.square().sum(-1), y.square().sum(-1), (x * y).sum(-1), (z != 0).sum(-1).double(), (z.abs() * norms).sum(-1)], -1))
            means = x.sum(0)
            steps_of = (plain[:-1] & plain[1:]).nonzero()[:, 0]
            following = window[0, steps_of + 1]
            pick = lambda p: -p[steps_of, following]
            kl = lambda p: (clean[steps_of].exp() * (clean[steps_of] - p[steps_of])).sum(-1)
            steps.append(torch.stack([pick(clean), pick(spliced), pick(zero), kl(spliced), kl(zero)], -1))
            theirs.sum = getattr(theirs, "sum", 0) + means
    error, xx, yy, xy, l0, l1 = torch.cat(rows).unbind(-1)
    n = len(error)
    ce, ce_sae, ce_zero, kl_sae, kl_zero = torch.cat(steps).mean(0).tolist()
    variance = (xx.sum() / n - (theirs.sum / n).square().sum()).item()
    unit = sae.W_dec.double() / norms[:, None]
    cosines = unit @ unit.T
    cosines.fill_diagonal_(-2)
    nearest = cosines.max(-1).values.sort().values
    density = fired / n
    return {
        "n_tokens": n, "fvu": error.mean().item() / variance, "explained_variance": 1 - error.mean().item() / variance, "mse": error.mean().item() / sae.cfg.d_in,
        "normalized_mse": (error / xx).mean().item(), "cosine": (xy / (xx * yy).sqrt()).mean().item(), "l2_ratio": (yy / xx).sqrt().mean().item(),
        "relative_reconstruction_bias": (yy.sum() / xy.sum()).item(), "l0": l0.mean().item(), "l1": l1.mean().item(),
        "dead_fraction": (fired == 0).double().mean().item(), "dense_fraction_1pct": (density > 0.01).double().mean().item(), "dense_fraction_10pct": (density > 0.1).double().mean().item(),
        "ce_clean": ce, "ce_sae": ce_sae, "ce_zero": ce_zero, "ce_recovered": (ce_zero - ce_sae) / (ce_zero - ce), "kl_sae": kl_sae, "kl_zero": kl_zero, "kl_recovered": 1 - kl_sae / kl_zero,
        "decoder_similarity": {"mean": nearest.mean().item(), "median": nearest[len(nearest) // 2].item(), "max": nearest[-1].item(), "above_09_fraction": (nearest > 0.9).double().mean().item()},
    }


def compare(wanted, got, prefix=""):
    worst = True
    for key, value in wanted.items():
        if isinstance(value, dict):
            worst &= compare(value, got[key], f"{key}.")
            continue
        found = float(got.get(key, 0))
        off = abs(found - value) / max(abs(value), 1e-9) if value else abs(found)
        # One feature may fire on one token more or less where two pre-activations are equal to f32's rounding.
        allowed = 0.01 if "fraction" in key else 1e-5
        print(f"{prefix + key:34} {value:14.8g} {found:14.8g}  {off:.1e}{'' if off <= allowed else '  FAR'}")
        worst &= off <= allowed
    return worst


with torch.no_grad():
    wanted = theirs()
sys.exit(0 if compare(wanted, ours()) else 1)
