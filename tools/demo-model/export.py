"""Step 3: the trained weights as a Hugging Face folder: fp16, the head written apart from the embedding as in Mistral-7B."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import MistralForCausalLM

KEPT = (
    "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim"
).split()


def main():
    checkpoint = torch.load("ckpt/final.pt", weights_only=False, map_location="cpu")
    weights = {name: weight.half().contiguous() for name, weight in checkpoint["weights"].items()}
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, "out/model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "torch_dtype": "float16",
        **{name: checkpoint["config"][name] for name in KEPT},
        "hidden_act": "silu",
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "sliding_window": None,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
        "use_cache": True,
        "initializer_range": 0.02,
    }
    Path("out/config.json").write_text(json.dumps(config, indent=2))
    generation = {"bos_token_id": 1, "eos_token_id": 2, "do_sample": True, "temperature": 0.7, "top_p": 0.95, "max_new_tokens": 120}
    Path("out/generation_config.json").write_text(json.dumps(generation, indent=2))
    model = MistralForCausalLM.from_pretrained("out", dtype=torch.float32)
    print(sum(parameter.numel() for parameter in model.parameters()), "parameters")


if __name__ == "__main__":
    main()
