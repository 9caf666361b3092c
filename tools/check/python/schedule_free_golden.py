"""Writes the golden data of libs/sae's test of signum_schedule_free: 100 steps of a small topk SAE in f64, with schedulefree's
ScheduleFreeWrapperReference around sparsify's SignSGD.

Loss and projection are Gao et al. 2024's; after each step the decoder rows of z, x and y are made unit vectors.
Needs torch, numpy, safetensors, schedulefree and eai-sparsify: python tools/check/python/schedule_free_golden.py [--out folder].
"""
import argparse
import json
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file
from schedulefree import ScheduleFreeWrapperReference
from sparsify.sign_sgd import SignSGD

root = pathlib.Path(__file__).resolve().parents[3]
parser = argparse.ArgumentParser()
parser.add_argument("--out", type=pathlib.Path, default=root / "libs/sae/test/fixtures/signum_schedule_free")
out = parser.parse_args().out
out.mkdir(parents=True, exist_ok=True)

d_in, d_sae, k, batch, batches, steps = 8, 32, 3, 32, 20, 100
config = {"lr": 2e-3, "warm_up": 10, "weight_decay": 0.05, "beta": 0.95, "mse_scale": 0.5}
generator = torch.Generator().manual_seed(5)
x = (torch.rand(batch * batches, 2 * d_in, generator=generator) < 0.2).float() @ torch.randn(2 * d_in, d_in, generator=generator)
x = (x + 0.05 * torch.randn(x.shape, generator=generator)).contiguous()
decoder = torch.nn.functional.normalize(torch.randn(d_sae, d_in, generator=generator), dim=-1)
start = {"W_enc": decoder * 0.6, "b_enc": torch.zeros(d_sae), "W_dec": decoder, "b_dec": x.mean(0)}
p = {name: value.double().requires_grad_() for name, value in start.items()}
optimizer = ScheduleFreeWrapperReference(SignSGD(p.values(), lr=config["lr"]), momentum=config["beta"], weight_decay_at_y=config["weight_decay"])
optimizer.train()
losses = []
for step in range(steps):
    rows = x[(step % batches) * batch :][:batch].double()
    pre = (rows - p["b_dec"]) @ p["W_enc"].T + p["b_enc"]
    values, indices = pre.topk(k, dim=-1)
    z = torch.zeros_like(pre).scatter(-1, indices, values.relu())
    loss = config["mse_scale"] * (z @ p["W_dec"] + p["b_dec"] - rows).pow(2).mean()
    for value in p.values():
        value.grad = None
    loss.backward()
    losses.append(loss.item())
    with torch.no_grad():
        gradient = p["W_dec"].grad
        gradient -= (gradient * p["W_dec"]).sum(-1, keepdim=True) * p["W_dec"]
        for group in optimizer.param_groups:
            group["lr"] = config["lr"] * min(1, (step + 1) / config["warm_up"])
        optimizer.step()
        state = optimizer.state[p["W_dec"]]
        for value in (state["z"], state["x"], state["y"], p["W_dec"].data):
            value /= value.norm(dim=-1, keepdim=True)
tensors = {"x": x.numpy()} | {f"start.{name}": value.numpy() for name, value in start.items()}
for name, value in p.items():
    tensors[f"y.{name}"] = value.detach().float().numpy()
    tensors[f"z.{name}"] = optimizer.state[value]["z"].float().numpy()
    tensors[f"x.{name}"] = optimizer.state[value]["x"].float().numpy()
save_file({name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}, out / "run.safetensors")
(out / "run.json").write_text(json.dumps(config | {"d_in": d_in, "d_sae": d_sae, "k": k, "batch": batch, "steps": steps, "losses": losses}) + "\n")
print(f"loss {losses[0]:.4f} to {losses[-1]:.4f}")
