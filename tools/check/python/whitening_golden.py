"""Writes the golden data of libs/sae's test of covariance_whitening: SAELens' own statistics of a small sample.

Needs torch, safetensors and sae-lens: python tools/check/python/whitening_golden.py [--out folder].
"""
import argparse
import json
import pathlib

import numpy as np
import torch
from sae_lens.training.activation_scaler import ActivationScaler
from safetensors.numpy import save_file

root = pathlib.Path(__file__).resolve().parents[3]
parser = argparse.ArgumentParser()
parser.add_argument("--out", type=pathlib.Path, default=root / "libs/sae/test/fixtures/covariance_whitening")
out = parser.parse_args().out
out.mkdir(parents=True, exist_ok=True)

eps, d_in, n = 1e-3, 12, 400
generator = torch.Generator().manual_seed(3)
x = torch.randn(n, d_in, generator=generator) @ torch.randn(d_in, d_in, generator=generator) * torch.linspace(0.05, 4, d_in) + torch.linspace(-2, 3, d_in)
scaler = ActivationScaler()
scaler.estimate_whitening(d_in, iter([x[: n // 2], x[n // 2 :]]), n_batches_for_norm_estimate=2, eps=eps)
found = {"x": x, "mean": scaler.whitening.mean, "matrix": scaler.whitening.matrix, "inverse_matrix": scaler.whitening.inverse_matrix}
save_file({name: np.ascontiguousarray(value.numpy(), np.float32) for name, value in found.items()}, out / "golden.safetensors")
(out / "golden.json").write_text(json.dumps({"eps": eps}) + "\n")
