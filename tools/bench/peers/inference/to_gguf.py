"""Writes a Mistral model folder (one model.safetensors) as GGUF, so that llama.cpp runs the same weights.

python to_gguf.py MODEL_FOLDER FILE.gguf f32|q8_0|q4_0

Every matrix is quantised, the embedding and the head included. The vocabulary is filled with names: only ids are fed.
"""
import json
import sys

import gguf
import numpy as np
from safetensors import safe_open

folder, file, precision = sys.argv[1:4]
config = json.load(open(f"{folder}/config.json"))
heads, kv_heads, width, vocab = (config[name] for name in ("num_attention_heads", "num_key_value_heads", "hidden_size", "vocab_size"))
head_width = config.get("head_dim") or width // heads
quant = gguf.GGMLQuantizationType[precision.upper()]
file_type = {"f32": gguf.LlamaFileType.ALL_F32, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "q4_0": gguf.LlamaFileType.MOSTLY_Q4_0}[precision]

writer = gguf.GGUFWriter(file, "llama")
writer.add_name("bench")
writer.add_file_type(file_type)
writer.add_context_length(config["max_position_embeddings"])
writer.add_embedding_length(width)
writer.add_block_count(config["num_hidden_layers"])
writer.add_feed_forward_length(config["intermediate_size"])
writer.add_head_count(heads)
writer.add_head_count_kv(kv_heads)
writer.add_key_length(head_width)
writer.add_value_length(head_width)
writer.add_rope_dimension_count(head_width)
writer.add_rope_freq_base(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
writer.add_vocab_size(vocab)
writer.add_tokenizer_model("llama")
writer.add_token_list([b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % byte for byte in range(256)] + [b"t%d" % i for i in range(vocab - 259)])
writer.add_token_scores([0.0] * 3 + [-1000.0] * (vocab - 3))
writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * (vocab - 259))
writer.add_bos_token_id(1)
writer.add_eos_token_id(2)
writer.add_unk_token_id(0)

top = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
inner = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def interleaved(matrix, count):
    """Rows in the order that this architecture's rotary embedding of GGUF wants: pairs side by side, not half a head apart."""
    return matrix.reshape(count, 2, matrix.shape[0] // count // 2, matrix.shape[1]).swapaxes(1, 2).reshape(matrix.shape)


with safe_open(f"{folder}/model.safetensors", "pt") as weights:
    for name in weights.keys():
        tensor = weights.get_tensor(name).float().numpy()
        if name in top:
            target = top[name]
        else:
            _, _, layer, *part, _ = name.split(".")
            target = f"blk.{layer}.{inner['.'.join(part)]}.weight"
            if part[-1] == "q_proj":
                tensor = interleaved(tensor, heads)
            if part[-1] == "k_proj":
                tensor = interleaved(tensor, kv_heads)
        if tensor.ndim == 1 or precision == "f32":
            writer.add_tensor(target, np.ascontiguousarray(tensor, dtype=np.float32))
        else:
            writer.add_tensor(target, gguf.quants.quantize(tensor, quant), raw_dtype=quant)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
