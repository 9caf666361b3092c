"""Holds the Open Inference Protocol against stock clients: tritonclient[grpc], and KServe's where it is installed.

Starts the inference service on the demo model with an SAE of random weights, and compares what the clients get with
transformers (where torch is installed) and with the SAE's own formula. Needs numpy, safetensors and one of the two
clients: python tools/check/python/open_inference.py. Exits with 1 when anything differs.
"""
import asyncio
import importlib.util
import json
import os
import pathlib
import subprocess
import tempfile

import numpy as np

root = pathlib.Path(__file__).resolve().parents[3]
node = str(root / "node_modules/.bin/node")
demo = root / "libs/demo-model/model"
HOOK = "blocks.2.hook_resid_pre"
TEXT = "Once upon a time, there was a little girl named Lily. She"
checked = 0


def check(name, holds, shown=""):
    global checked
    if not holds:
        raise SystemExit(f"FAILED  {name} {shown}")
    checked += 1
    print(f"ok      {name} {shown}")


def close(name, got, wanted, tolerance=1e-3):
    worst = float(np.abs(np.asarray(got, np.float64) - np.asarray(wanted, np.float64)).max())
    check(name, np.shape(got) == np.shape(wanted) and worst < tolerance, f"(largest difference {worst:.1e})")


def reference(rows):
    """Logits, residuals at HOOK and greedy continuations by transformers; None without torch."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        print("torch and transformers are not installed: values are not compared with them")
        return None
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(demo, dtype=torch.float32).eval()
    results = []
    with torch.no_grad():
        for ids in rows:
            out = model(torch.tensor([ids]), output_hidden_states=True)
            greedy = model.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False)[0, len(ids) :].tolist()
            results.append((out.logits[0].numpy(), out.hidden_states[2][0].numpy(), greedy))
    return results


def random_sae(folder, d_in=192, d_sae=512, k=8):
    from safetensors.numpy import save_file

    rng = np.random.default_rng(1)
    w_dec = rng.standard_normal((d_sae, d_in)).astype(np.float32)
    w_dec /= np.linalg.norm(w_dec, axis=1, keepdims=True)
    weights = {"W_enc": np.ascontiguousarray(w_dec.T), "b_enc": np.zeros(d_sae, np.float32), "W_dec": w_dec, "b_dec": np.zeros(d_in, np.float32)}
    folder.mkdir()
    save_file(weights, folder / "sae_weights.safetensors")
    config = {"architecture": "topk", "d_in": d_in, "d_sae": d_sae, "k": k, "dtype": "float32", "apply_b_dec_to_input": True, "normalize_activations": "none", "metadata": {"hook_name": HOOK}}
    (folder / "cfg.json").write_text(json.dumps(config))
    return weights


def check_triton(address, sae):
    import tritonclient.grpc as triton

    client = triton.InferenceServerClient(address)
    check("triton: live, ready", client.is_server_live() and client.is_server_ready())
    check("triton: models ready", all(client.is_model_ready(name) for name in ("demo", "demo.random.encode", "demo.random.decode")))
    check("triton: an unknown model is not ready", not client.is_model_ready("nothing"))
    check("triton: server metadata", client.get_server_metadata().name == "mistral-sae")
    metadata = client.get_model_metadata("demo", as_json=True)
    check("triton: model metadata", {"input_ids", "text", "max_tokens"} <= {one["name"] for one in metadata["inputs"]} and {"logits", "residual", HOOK} <= {one["name"] for one in metadata["outputs"]})

    def tensor(name, values, datatype):
        values = np.asarray(values)
        made = triton.InferInput(name, list(values.shape), datatype)
        made.set_data_from_numpy(values)
        return made

    def infer(model, inputs, outputs=None, **parameters):
        asked = None if outputs is None else [triton.InferRequestedOutput(name) for name in outputs]
        result = client.infer(model, inputs, outputs=asked, request_id="r1", parameters=parameters or None)
        check(f"triton: {model} answers with the request's id", result.get_response().id == "r1")
        return result

    texts = np.array([[TEXT.encode()], [b"The dog"]], dtype=object)
    answer = infer("demo", [tensor("text", texts, "BYTES")], ["generated_text", "output_ids"], max_tokens=20, temperature=0.0)
    greedy = answer.as_numpy("output_ids")
    check("triton: texts", answer.as_numpy("generated_text").shape == (2, 1) and len(answer.as_numpy("generated_text")[0, 0]) > 10, answer.as_numpy("generated_text")[0, 0].decode())

    rows = [[1, 465, 456, 263, 415, 16, 411, 290, 263, 399, 506, 444, 431, 18, 355], [1, 465, 456, 263]]
    width = max(map(len, rows))
    ids = np.array([row + [0] * (width - len(row)) for row in rows], np.int64)
    mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows], np.int64)
    inputs = [tensor("input_ids", ids, "INT64"), tensor("attention_mask", mask, "INT64")]
    answer = infer("demo", inputs, ["logits", "residual", "feature_indices", "feature_acts"], hook_name=HOOK, positions="all", sae="random")
    logits, residual = answer.as_numpy("logits"), answer.as_numpy("residual")
    indices, acts = answer.as_numpy("feature_indices"), answer.as_numpy("feature_acts")
    check("triton: shapes and types", logits.shape == (2, width, 4096) and residual.shape == (2, width, 192) and acts.shape == indices.shape == (2, width, 8) and logits.dtype == np.float32)
    wanted = reference(rows)
    for b, row in enumerate(rows):
        check(f"triton: padding of row {b} is 0", not logits[b, len(row) :].any() and not residual[b, len(row) :].any())
        if wanted is not None:
            close(f"transformers: logits of row {b}", logits[b, : len(row)], wanted[b][0])
            close(f"transformers: residual of row {b}", residual[b, : len(row)], wanted[b][1])
    if wanted is not None:
        check("transformers: greedy tokens", greedy[0].tolist() == wanted[0][2])
    pre = (residual[0, 1:] - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"]
    best = np.sort(pre, axis=1)[:, ::-1][:, :8]
    close("formula: activations", acts[0, 1:], np.maximum(best, 0))

    rows_in = residual[0, 1:]
    coded = infer("demo.random.encode", [tensor("residual", rows_in, "FP32")])
    check("triton: the SAE alone codes as with the model", (coded.as_numpy("feature_indices") == indices[0, 1:]).all())
    decoded = infer("demo.random.decode", [tensor("feature_indices", coded.as_numpy("feature_indices"), "UINT32"), tensor("feature_acts", coded.as_numpy("feature_acts"), "FP32")]).as_numpy("residual")
    dense = np.zeros((len(rows_in), 512), np.float32)
    np.put_along_axis(dense, coded.as_numpy("feature_indices").astype(np.int64), coded.as_numpy("feature_acts"), 1)
    close("formula: decoded residual", decoded, dense @ sae["W_dec"] + sae["b_dec"])
    half = infer("demo.random.encode", [tensor("residual", rows_in.astype(np.float16), "FP16")]).as_numpy("feature_acts")
    close("triton: FP16 in", half, coded.as_numpy("feature_acts"), 0.05)

    interventions = json.dumps([{"id": "f", "feature": {"sae": "models/demo/saes/random", "featureIndex": 3}, "method": "STEERING_METHOD_ADD", "strength": 0.5, "unit": "STRENGTH_UNIT_RESID_NORM_FRACTION"}])
    steered = infer("demo", [tensor("text", texts[:1], "BYTES")], ["output_ids", "steering_applied_steps"], max_tokens=20, temperature=0.0, interventions=interventions)
    check("triton: steering is applied at every step and changes the text", steered.as_numpy("steering_applied_steps")[0, 0] == 19 and (steered.as_numpy("output_ids")[0] != greedy[0]).any())

    for what, call, status in [
        ("an unknown model", lambda: infer("nothing", inputs), "NOT_FOUND"),
        ("an unknown output", lambda: infer("demo", inputs, ["nothing"]), "INVALID_ARGUMENT"),
        ("an unknown parameter", lambda: infer("demo", inputs, temprature=1), "INVALID_ARGUMENT"),
    ]:
        try:
            call()
            check(f"triton: {what} is refused", False)
        except triton.InferenceServerException as error:
            check(f"triton: {what} is refused", status in error.status(), f"({error.message()})")
    client.close()


async def check_kserve(address):
    import grpc
    from kserve import InferenceGRPCClient, InferInput, InferRequest

    client = InferenceGRPCClient(address)
    check("kserve: live, ready", await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready("demo"))
    text = InferInput("text", [1, 1], "BYTES")
    text.set_data_from_numpy(np.array([[TEXT.encode()]], dtype=object), binary_data=True)
    request = InferRequest("demo", [text], request_id="k1", parameters={"max_tokens": 8, "temperature": 0})
    answer = await client.infer(request)
    check("kserve: a text", answer.id == "k1" and len(answer.outputs[1].as_numpy()) == 1, str(answer.outputs[1].as_numpy()))
    for binary in (True, False):
        ids = InferInput("input_ids", [1, 4], "INT64")
        ids.set_data_from_numpy(np.array([[1, 465, 456, 263]], np.int64), binary_data=binary)
        answer = await client.infer(InferRequest("demo", [ids], request_id="k2"))
        check(f"kserve: logits ({'raw' if binary else 'typed'})", answer.outputs[0].as_numpy().shape == (1, 1, 4096))
    try:
        await client.infer(InferRequest("nothing", [ids]))
        check("kserve: an unknown model is refused", False)
    except grpc.RpcError as error:
        check("kserve: an unknown model is refused", error.code() == grpc.StatusCode.NOT_FOUND, f"({error.details()})")
    await client.close()


def main():
    clients = [name for name in ("tritonclient", "kserve") if importlib.util.find_spec(name) is not None]
    if not clients:
        raise SystemExit("neither tritonclient nor kserve is installed")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        env = {**os.environ, "MISTRAL_SAE_LISTEN": "127.0.0.1:0", "MISTRAL_SAE_DATA": str(folder / "data"), "MISTRAL_SAE_MODELS": f"demo={demo}", "MISTRAL_SAE_THREADS": "2", "MISTRAL_SAE_PARENT_PIPE": "1"}
        service = subprocess.Popen([node, str(root / "services/inference/src/main.ts")], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            address = next(json.loads(line)["address"] for line in service.stdout if line.startswith('{"ready"'))
            sae = random_sae(folder / "sae")
            command = [node, str(root / "tools/cli/bin/mistral-sae.mjs"), "--address", address, "-q", "sae", "register", str(folder / "sae"), "--id", "random", "--validate", "skip"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if "tritonclient" in clients:
                check_triton(address, sae)
            if "kserve" in clients:
                asyncio.run(check_kserve(address))
        finally:
            service.stdin.close()
            service.wait(30)
    print(f"{checked} checks passed with {' and '.join(clients)}")


main()
