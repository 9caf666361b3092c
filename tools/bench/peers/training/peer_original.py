"""seonglae/mistral-sae: its SparseAutoencoder and the step of its training loop, in f32 without autocast."""
import importlib.metadata
import importlib.util
import pathlib

import torch
import torch.nn.functional as F


def make(cell):
    # The package's __init__ imports a CUDA language model; its sae.py alone is what trains.
    folder = importlib.util.find_spec("mistral_sae").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("original_sae", pathlib.Path(folder) / "sae.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.print = lambda *_, **__: None
    sae = module.SparseAutoencoder(cell.d_in, cell.d_sae, k=cell.k)
    optimizer = torch.optim.AdamW(sae.parameters(), lr=2e-4 / (cell.d_sae / 2**14) ** 0.5, eps=6.25e-10, betas=(0.9, 0.999))

    dead = int(cell.dead * cell.d_sae)

    def step(x):
        sae.stats_last_nonzero[:dead] = 10**9
        optimizer.zero_grad()
        recons, auxk, _ = sae(x)
        loss = F.mse_loss(recons, x) / 19.9776
        if auxk is not None:
            loss = loss + F.mse_loss(auxk, x - recons).nan_to_num(0) / 32
        loss.backward()
        sae.norm_weights()
        sae.norm_grad()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), max_norm=1.0)
        optimizer.step()
        return loss.item()

    return importlib.metadata.version("mistral-sae"), step
