"""Holds `mistral-sae train --activations` against torch autograd: the gao formulation in f64, written from the paper's formulas.

Needs torch, numpy and safetensors: python tools/check/python/train_gao.py [--steps 12]. Exits with 1 when a parameter differs by more than 1e-5.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

root = pathlib.Path(__file__).resolve().parents[3]
command = [str(root / "node_modules/.bin/node"), str(root / "tools/cli/bin/mistral-sae.mjs")]


def layer_norm(x):
    centered = x - x.mean(-1, keepdim=True)
    return centered / (centered.pow(2).sum(-1, keepdim=True).div(x.shape[-1] - 1).sqrt() + 1e-5)


def top_k(pre, k, allowed=None):
    values, indices = (pre if allowed is None else pre.masked_fill(~allowed, -torch.inf)).topk(k, dim=-1)
    return torch.zeros_like(pre).scatter(-1, indices, values.relu())


def reference(x, start, case, steps):
    """Loss by Gao et al. 2024, gradients by autograd, AdamW by torch."""
    p = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in start.items()}
    optimizer = torch.optim.AdamW(p.values(), lr=case["lr"], betas=(0.9, 0.999), eps=1e-6, weight_decay=case["weight_decay"])
    since = torch.zeros(p["b_enc"].shape[0])
    for step in range(steps):
        rows = x[step * case["batch"] : (step + 1) * case["batch"]].double()
        rows = layer_norm(rows) if case["normalize"] == "layer_norm" else rows
        pre = (rows - p["b_dec"]) @ p["W_enc"] + p["b_enc"]
        z = top_k(pre, case["k"])
        error = rows - (z @ p["W_dec"] + p["b_dec"])
        loss = case["mse_scale"] * error.pow(2).mean()
        since = torch.where((z > 0).any(0), torch.zeros(()), since + len(rows))
        dead = since >= case["dead_tokens"]
        k_aux = min(case["k_aux"], int(dead.sum()))
        if k_aux > 0:
            residual = error.detach()
            estimate = top_k(pre, k_aux, dead) @ p["W_dec"]
            loss = loss + case["coefficient"] * (estimate - residual).pow(2).mean() / (residual - residual.mean(0)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            gradient = p["W_dec"].grad
            gradient -= (gradient * p["W_dec"]).sum(-1, keepdim=True) * p["W_dec"]
        if case["clip"] > 0:
            torch.nn.utils.clip_grad_norm_(p.values(), case["clip"])
        optimizer.step()
        with torch.no_grad():
            p["W_dec"] /= p["W_dec"].norm(dim=-1, keepdim=True)
    return {name: value.detach().numpy() for name, value in p.items()}, int(dead.sum())


def ours(x, start, case, steps, folder):
    begin, out, rows = folder / "start", folder / "out", folder / "x.safetensors"
    begin.mkdir()
    save_file({"x": x.numpy()}, rows)
    save_file(start, begin / "sae_weights.safetensors")
    d_in, d_sae = start["W_enc"].shape
    cfg = {"architecture": "topk", "d_in": d_in, "d_sae": d_sae, "k": case["k"], "dtype": "float32", "apply_b_dec_to_input": True, "normalize_activations": case["normalize"], "reshape_activations": "none", "rescale_acts_by_decoder_norm": False, "metadata": {"sae_lens_version": "6.54.12"}}
    (begin / "cfg.json").write_text(json.dumps(cfg))
    options = {"batch-tokens": case["batch"], "steps": steps, "lr": case["lr"], "adam-epsilon": 1e-6, "weight-decay": case["weight_decay"], "grad-clip-norm": case["clip"], "k-aux": case["k_aux"], "aux-loss-coefficient": case["coefficient"], "dead-tokens": case["dead_tokens"], "mse-scale": case["mse_scale"], "normalize-activations": case["normalize"], "init-from": begin, "activations": rows, "out": out}
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    printed = subprocess.run([*command, "--json", "--quiet", "train", "--no-shuffle", *arguments], check=True, capture_output=True, text=True).stdout
    return load_file(out / "sae_weights.safetensors"), json.loads(printed)["num_dead"]


cases = {
    "no normalisation, no AuxK, no clipping": {"normalize": "none", "k_aux": 0, "clip": 0.0, "weight_decay": 0.0},
    "layer_norm, AuxK, clipping": {"normalize": "layer_norm", "k_aux": 8, "clip": 0.01, "weight_decay": 0.0},
    "AuxK over all dead, weight decay": {"normalize": "none", "k_aux": 400, "clip": 1.0, "weight_decay": 0.05},
}
parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=12)
steps = parser.parse_args().steps
generator = torch.Generator().manual_seed(0)
failed = 0
for name, chosen in cases.items():
    case = {"k": 4, "batch": 96, "lr": 2e-3, "coefficient": 0.25, "dead_tokens": 150, "mse_scale": 0.4, **chosen}
    d_in, d_sae = 34, 256
    mixture = (torch.rand(steps * case["batch"], 2 * d_in, generator=generator) < 0.06).float() @ torch.randn(2 * d_in, d_in, generator=generator)
    x = (mixture + 0.05 * torch.randn(mixture.shape, generator=generator) + 0.5).contiguous()
    decoder = torch.nn.functional.normalize(torch.randn(d_sae, d_in, generator=generator), dim=-1)
    start = {"W_enc": (decoder.T * 0.6).contiguous().numpy(), "b_enc": np.zeros(d_sae, np.float32), "W_dec": decoder.numpy(), "b_dec": x.mean(0).numpy() if case["normalize"] == "none" else np.zeros(d_in, np.float32)}
    wanted, dead = reference(x, start, case, steps)
    with tempfile.TemporaryDirectory() as folder:
        got, our_dead = ours(x, start, case, steps, pathlib.Path(folder))
    difference = max(float(np.abs(got[tensor] - wanted[tensor]).max()) for tensor in wanted)
    held = difference < 1e-5 and dead == our_dead
    failed += not held
    print(f"{'ok ' if held else 'BAD'} {name}: largest difference {difference:.1e} after {steps} steps, dead latents {our_dead} (wanted {dead})")
sys.exit(failed > 0)
