"""Writes the fixtures of libs/model/test/config/relatives.test.ts: what transformers computes for small Mistral-architecture models.

Needs torch, transformers and safetensors: $MISTRAL_SAE_BENCH_PYTHON tools/check/python/relatives_golden.py. No weights are written:
both sides make them from a hash of name and index. Configurations are stored as transformers saves them.
"""
import json
import math
import pathlib

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlavaConfig, MinistralConfig, Ministral3Config, Mistral3Config, MistralConfig, PixtralVisionConfig
from transformers import AutoModelForCausalLM, LlavaForConditionalGeneration, Mistral3ForConditionalGeneration

fixtures = pathlib.Path(__file__).resolve().parents[3] / "libs/model/test/fixtures"
MASK = 0xFFFFFFFF
LENGTH = 100
POSITIONS = [0, 7, 40, 63, 99]


def values(name, count):
    """uniform [-0.5, 0.5): FNV-1a of the name, then the finalizer of MurmurHash3 over index · golden ratio."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x01000193) & MASK
    x = (seed + torch.arange(count, dtype=torch.int64) * 0x9E3779B9) & MASK
    x = (x ^ (x >> 16)) * 0x85EBCA6B & MASK
    x = (x ^ (x >> 13)) * 0xC2B2AE35 & MASK
    return ((x ^ (x >> 16)).double() / 2**32 - 0.5).float()


def weight(name, shape):
    norm = "norm" in name
    flat = values(name, math.prod(shape))
    return (1 + 0.4 * flat if norm else flat).reshape(shape)


def canonical(name):
    """The name in a text model of a weight in a model that also takes images."""
    return name.replace("model.language_model.", "model.")


def fill(model):
    for name, parameter in model.named_parameters():
        if "vision" not in name and "projector" not in name:
            parameter.data.copy_(weight(canonical(name), tuple(parameter.shape)))
    return model.eval().float()


small = dict(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
wide = dict(small, head_dim=16)
yarn = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}
llama3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
ministral3 = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 2.0, "original_max_position_embeddings": 64, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}
vision = PixtralVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16, head_dim=8)


def rope(**parameters):
    return {"rope_parameters": parameters}


cases = {
    "mistral": MistralConfig(**small, sliding_window=None),
    "mistral, tied embeddings": MistralConfig(**small, sliding_window=None, tie_word_embeddings=True),
    "mistral, wide heads": MistralConfig(**wide, sliding_window=None, **rope(rope_type="default", rope_theta=1e6)),
    "mistral, heads of 12": MistralConfig(**dict(small, head_dim=12), sliding_window=None),
    "mistral, heads of 50, yarn": MistralConfig(**dict(small, head_dim=50), sliding_window=None, **rope(**yarn)),
    "mistral, window": MistralConfig(**small, sliding_window=8),
    "mistral, linear": MistralConfig(**wide, sliding_window=None, **rope(rope_type="linear", rope_theta=10000.0, factor=3.0)),
    "mistral, dynamic": MistralConfig(**wide, sliding_window=None, **rope(rope_type="dynamic", rope_theta=10000.0, factor=3.0)),
    "mistral, yarn": MistralConfig(**wide, sliding_window=None, **rope(**yarn)),
    "mistral, yarn, mscale": MistralConfig(**wide, sliding_window=None, **rope(**yarn, mscale=0.7, mscale_all_dim=1.3, beta_fast=8.0, beta_slow=0.5, truncate=False)),
    "mistral, yarn, attention factor": MistralConfig(**wide, sliding_window=None, **rope(**yarn, attention_factor=1.25, mscale_all_dim=1.0)),
    "llama": LlamaConfig(**dict(small, num_key_value_heads=None)),
    "llama, llama3": LlamaConfig(**wide, tie_word_embeddings=True, **rope(**llama3)),
    "ministral": MinistralConfig(**small, head_dim=8, sliding_window=8, layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
    "ministral3": Ministral3Config(**wide, **rope(**ministral3)),
    "mistral3": Mistral3Config(vision_config=vision, text_config=MistralConfig(**wide, sliding_window=None), tie_word_embeddings=False),
    "mistral3, ministral3": Mistral3Config(vision_config=vision, text_config=Ministral3Config(**wide, **rope(**ministral3))),
    "llava": LlavaConfig(vision_config=vision, text_config=LlamaConfig(**wide)),
    "llava, mistral": LlavaConfig(vision_config=vision, text_config=MistralConfig(**dict(small, num_attention_heads=32, num_key_value_heads=8, head_dim=8), sliding_window=None)),
}


def build(config):
    wrapped = {"mistral3": Mistral3ForConditionalGeneration, "llava": LlavaForConditionalGeneration}.get(config.model_type)
    model = wrapped(config) if wrapped else AutoModelForCausalLM.from_config(config)
    model.config.architectures = [type(model).__name__]
    return fill(model)


def consolidated():
    """Mistral's own program on its own layout: rotary pairs lie side by side (complex numbers), and no transformers model."""
    params = dict(dim=32, n_layers=2, head_dim=20, hidden_dim=48, n_heads=4, n_kv_heads=2, norm_eps=1e-5, vocab_size=96, rope_theta=10000.0)
    heads, groups, width = params["n_heads"], params["n_kv_heads"], params["head_dim"]
    dim, mlp = params["dim"], params["hidden_dim"]
    norm = lambda x, name: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + params["norm_eps"]) * weight(name, (dim,))
    angles = torch.outer(torch.arange(LENGTH).float(), 1 / params["rope_theta"] ** (torch.arange(0, width, 2).float() / width))
    turn = torch.polar(torch.ones_like(angles), angles)[:, None]
    rotate = lambda x: torch.view_as_real(torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2)) * turn).flatten(-2)
    x = weight("tok_embeddings.weight", (params["vocab_size"], dim))[tokens]
    for layer in range(params["n_layers"]):
        p = f"layers.{layer}"
        h = norm(x, f"{p}.attention_norm.weight")
        q = rotate((h @ weight(f"{p}.attention.wq.weight", (heads * width, dim)).T).reshape(LENGTH, heads, width))
        k = rotate((h @ weight(f"{p}.attention.wk.weight", (groups * width, dim)).T).reshape(LENGTH, groups, width)).repeat_interleave(heads // groups, 1)
        v = (h @ weight(f"{p}.attention.wv.weight", (groups * width, dim)).T).reshape(LENGTH, groups, width).repeat_interleave(heads // groups, 1)
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(width) + torch.full((LENGTH, LENGTH), -torch.inf).triu(1)
        attended = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(LENGTH, -1)
        x = x + attended @ weight(f"{p}.attention.wo.weight", (dim, heads * width)).T
        h = norm(x, f"{p}.ffn_norm.weight")
        gate, up = (h @ weight(f"{p}.feed_forward.{name}.weight", (mlp, dim)).T for name in ("w1", "w3"))
        x = x + (torch.nn.functional.silu(gate) * up) @ weight(f"{p}.feed_forward.w2.weight", (dim, mlp)).T
    return params, norm(x, "norm.weight") @ weight("output.weight", (params["vocab_size"], dim)).T


tokens = (torch.arange(LENGTH) * 37 + 1) % 96
configs, logits = {}, {}
with torch.no_grad():
    for name, config in cases.items():
        model = build(config)
        limit = 64 if "ministral3" in name else LENGTH
        positions = [position for position in POSITIONS if position < limit]
        configs[name] = json.loads(model.config.to_json_string(use_diff=True))
        configs[name].pop("vision_config", None)
        if name == "llava, mistral":
            # transformers 4 left out what was the default of the inner model.
            defaults = MistralConfig().to_dict()
            configs[name]["text_config"] = {key: value for key, value in configs[name]["text_config"].items() if key == "model_type" or value != defaults.get(key)}
        logits[name] = model(input_ids=tokens[None, :limit]).logits[0, positions].contiguous()
    configs["consolidated"], all_logits = consolidated()
    logits["consolidated"] = all_logits[POSITIONS].contiguous()

(fixtures / "relatives.json").write_text(json.dumps(configs, indent=1, sort_keys=True) + "\n")
save_file(logits, fixtures / "relatives.safetensors", {"tokens": f"(i * 37 + 1) % 96, i from 0 to {LENGTH - 1}", "positions": json.dumps(POSITIONS)})
