"""Step 2: train the model on CPU. Embedding and head are tied while training; export.py writes them apart."""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from transformers import MistralConfig, MistralForCausalLM

CONTEXT = 128
BATCH = 16
LEARNING_RATE = 3e-3
WARM_UP_STEPS = 60
DECAY_SHARE = 0.4
MIXTURE = {"books": 0.22, "chat": 0.78 * 0.4, "stories": 0.78 * 0.6}


def build_model():
    config = MistralConfig(
        vocab_size=4096,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        rope_theta=10_000.0,
        sliding_window=None,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=None,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
        use_cache=False,
    )
    model = MistralForCausalLM(config)
    for layer in model.model.layers:  # residual projections scaled by depth
        for weight in (layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight):
            weight.data.mul_(1 / math.sqrt(2 * config.num_hidden_layers))
    return model, config


class Windows:
    """Shuffled windows of a token stream that do not overlap; each epoch starts at another offset."""

    def __init__(self, name, rng):
        self.tokens = np.fromfile(f"bin/{name}.bin", dtype=np.uint16).astype(np.int64)
        self.rng = rng
        self.starts = []

    def next(self):
        if not self.starts:
            offset = int(self.rng.integers(0, CONTEXT))
            count = (len(self.tokens) - offset - 1) // CONTEXT
            self.starts = [offset + int(i) * CONTEXT for i in self.rng.permutation(count)]
        start = self.starts.pop()
        return self.tokens[start : start + CONTEXT + 1]


def loss_of(model, tokens):
    hidden = model.model(input_ids=tokens[:, :-1]).last_hidden_state
    return torch.nn.functional.cross_entropy(model.lm_head(hidden).flatten(0, 1), tokens[:, 1:].flatten())


@torch.no_grad()
def evaluate(model, windows=256):
    model.eval()
    losses = {}
    for name in ("stories_held", "books_held"):
        tokens = np.fromfile(f"bin/{name}.bin", dtype=np.uint16).astype(np.int64)
        starts = np.linspace(0, (len(tokens) - 1) // CONTEXT - 1, windows).astype(int) * CONTEXT
        batch = torch.from_numpy(np.stack([tokens[s : s + CONTEXT + 1] for s in starts]))
        parts = batch.split(BATCH)
        losses[name] = sum(loss_of(model, part).item() for part in parts) / len(parts)
    model.train()
    return losses


def optimizers(model):
    """Muon for the hidden matrices learns more from few tokens; AdamW for the embedding and the norms."""
    hidden = [p for p in model.model.layers.parameters() if p.dim() == 2]
    rest = [model.model.embed_tokens.weight, *(p for p in model.parameters() if p.dim() < 2)]
    muon = torch.optim.Muon(hidden, lr=LEARNING_RATE, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(rest, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    return [muon, adamw]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    model, config = build_model()
    model.train()
    sources = {name: Windows(name, rng) for name in MIXTURE}
    optims = optimizers(model)
    begin, step = time.time(), 0
    while (share := (time.time() - begin) / (60 * options.minutes)) < 1:
        names = rng.choice(list(MIXTURE), size=BATCH, p=list(MIXTURE.values()))
        loss = loss_of(model, torch.from_numpy(np.stack([sources[name].next() for name in names])))
        rate = LEARNING_RATE * min(1, (step + 1) / WARM_UP_STEPS) * min(1, max(0.02, (1 - share) / DECAY_SHARE))
        for optim in optims:
            optim.zero_grad(set_to_none=True)
            for group in optim.param_groups:
                group["lr"] = rate
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim in optims:
            optim.step()
        step += 1
        if step % 50 == 0:
            print(f"step {step} loss {loss.item():.3f} rate {rate:.2e} tokens {step * BATCH * CONTEXT}", flush=True)
    print("held out", evaluate(model))
    Path("ckpt").mkdir(exist_ok=True)
    torch.save({"config": config.to_dict(), "weights": model.state_dict(), "steps": step}, "ckpt/final.pt")


if __name__ == "__main__":
    main()
