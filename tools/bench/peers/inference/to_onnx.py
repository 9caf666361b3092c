"""Exports a Mistral model folder with onnxruntime-genai's model builder, laid out for transformers.js.

python to_onnx.py MODEL_FOLDER OUT_FOLDER f32|q4
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import onnx

folder, out, precision = sys.argv[1:4]
with tempfile.TemporaryDirectory() as cache:
    builder = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", folder, "-o", f"{out}/onnx", "-c", cache, "-e", "cpu", "-p", {"f32": "fp32", "q4": "int4"}[precision]]
    subprocess.run(builder, check=True)
# transformers.js reads the widths of the caches off the graph, where the builder writes a name.
file = f"{out}/onnx/model.onnx"
model = onnx.load(file, load_external_data=False)
config = json.load(open(f"{folder}/config.json"))
width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
for value in [*model.graph.input, *model.graph.output]:
    for size in value.type.tensor_type.shape.dim:
        if size.dim_param == "kv_cache_dim":
            size.dim_value = width
onnx.save(model, file)
for name in os.listdir(folder):
    if name.endswith(".json") and "index" not in name:
        shutil.copy(f"{folder}/{name}", out)
