"""EleutherAI sparsify: SparseCoder with the step of its Trainer, Adam in place of Signum."""
import importlib.metadata
import os

import torch


def make(cell):
    if not torch.cuda.is_available():
        # Its Triton decoder needs a GPU, also where a CUDA build of torch brought Triton along.
        os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
        # Asked for as a decorator's argument while the package is imported.
        torch.cuda.is_bf16_supported = lambda *_, **__: False
    from sparsify import SparseCoder, SparseCoderConfig

    sae = SparseCoder(cell.d_in, SparseCoderConfig(num_latents=cell.d_sae, k=cell.k), dtype=torch.float32)
    optimizer = torch.optim.Adam(sae.parameters(), lr=2e-4 / (cell.d_sae / 2**14) ** 0.5)
    forced = int(cell.dead * cell.d_sae)
    since_fired = torch.zeros(cell.d_sae, dtype=torch.long)

    def step(x):
        since_fired[:forced] = 10**9
        sae.set_decoder_norm_to_unit_norm()
        dead = since_fired > 10_000_000
        output = sae(x=x, y=x, dead_mask=dead if dead.any() else None)
        fired = torch.zeros(cell.d_sae, dtype=torch.bool)
        fired[output.latent_indices.flatten()] = True
        (output.fvu + output.auxk_loss / 32).backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        since_fired.add_(x.shape[0])
        since_fired[fired] = 0
        return output.fvu.item()

    return importlib.metadata.version("eai-sparsify"), step
