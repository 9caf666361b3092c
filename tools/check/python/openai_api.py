"""Holds /v1 of the gateway against the official `openai` package: models, completions, chats, streams, errors.

Starts an inference service on the demo model and a gateway, or takes the URL of a running one. Needs openai; where
torch and transformers are installed, logprobs are compared with theirs: python tools/check/python/openai_api.py [URL].
Exits with 1 when anything differs.
"""
import importlib.util
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

import openai

root = pathlib.Path(__file__).resolve().parents[3]
node = str(root / "node_modules/.bin/node")
demo = root / "libs/demo-model/model"
STORY = "Once upon a time, there was a little girl named Lily. She"
MODEL = "demo"
checked = 0


def check(name, holds, shown=""):
    global checked
    if not holds:
        raise SystemExit(f"FAILED  {name} {shown}")
    checked += 1
    print(f"ok      {name} {shown}")


def refused(name, kind, call, **wanted):
    try:
        call()
    except kind as error:
        got = {field: getattr(error, field) for field in wanted}
        check(f"{name} is refused", got == wanted, f"{error.status_code}: {error.message}")
        return error
    check(f"{name} is refused", False)


def check_models(client):
    check("models are listed", [model.id for model in client.models.list()] == [MODEL])
    check("a model is found", client.models.retrieve(MODEL).object == "model")
    refused("an unknown model", openai.NotFoundError, lambda: client.models.retrieve("gpt-4.1"), code="model_not_found")


def check_completions(client):
    whole = client.completions.create(model=MODEL, prompt=STORY, temperature=0, max_tokens=20)
    check("a completion", whole.choices[0].finish_reason == "length" and whole.usage.total_tokens == 35, whole.choices[0].text)
    chunks = list(client.completions.create(model=MODEL, prompt=STORY, temperature=0, max_tokens=20, stream=True, stream_options={"include_usage": True}))
    check("its stream", "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text and chunks[-1].usage.completion_tokens == 20)
    several = client.completions.create(model=MODEL, prompt=["The dog", "A cat"], n=2, seed=3, temperature=0.9, max_tokens=6)
    again = client.completions.create(model=MODEL, prompt=["The dog", "A cat"], n=2, seed=3, temperature=0.9, max_tokens=6)
    check("several choices repeat with their seed", len(several.choices) == 4 and [c.text for c in several.choices] == [c.text for c in again.choices])
    stopped = client.completions.create(model=MODEL, prompt=STORY, temperature=0, max_tokens=40, stop=["loved to play"])
    check("a stop text", stopped.choices[0].finish_reason == "stop" and "loved to play" not in stopped.choices[0].text)
    biased = client.completions.create(model=MODEL, prompt=STORY, temperature=0, max_tokens=3, logit_bias={"263": 100})
    check("a logit bias", biased.choices[0].text == " a a a")
    best = client.completions.create(model=MODEL, prompt=STORY, temperature=1, max_tokens=6, best_of=4, seed=1)
    check("best_of", len(best.choices) == 1 and best.usage.completion_tokens == 24)
    return whole.choices[0].text


def check_logprobs(client, text):
    """The way evaluation harnesses score a text: echo, and nothing generated."""
    scored = client.completions.create(model=MODEL, prompt=STORY + text, echo=True, max_tokens=0, logprobs=5).choices[0]
    logprobs = scored.logprobs
    check("echo returns the prompt", scored.text == STORY + text and logprobs.token_logprobs[0] is None)
    greedy = [max(top, key=top.get) == token for token, top in zip(logprobs.tokens[-20:], logprobs.top_logprobs[-20:])]
    check("a greedy text scores as greedy", all(greedy))
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        print("torch and transformers are not installed: logprobs are not compared with theirs")
        return
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(demo)(STORY + text, return_tensors="pt").input_ids
    with torch.no_grad():
        rows = torch.log_softmax(AutoModelForCausalLM.from_pretrained(demo, dtype=torch.float32)(ids).logits[0, :-1], -1)
    wanted = rows.gather(1, ids[0, 1:, None])[:, 0].tolist()
    worst = max(abs(a - b) for a, b in zip(logprobs.token_logprobs[1:], wanted))
    check("logprobs are those of transformers", len(wanted) == len(logprobs.tokens) - 1 and worst < 1e-3, f"(largest difference {worst:.1e})")
    top = max(abs(max(tops.values()) - row.max().item()) for tops, row in zip(logprobs.top_logprobs[1:], rows))
    check("and so are the likeliest tokens", top < 1e-3, f"(largest difference {top:.1e})")


def check_chats(client):
    messages = [{"role": "system", "content": "You tell stories."}, {"role": "user", "content": [{"type": "text", "text": "A story about a cat and a boat."}]}]
    whole = client.chat.completions.create(model=MODEL, messages=messages, temperature=0, max_completion_tokens=16, logprobs=True, top_logprobs=3)
    answer = whole.choices[0]
    check("a chat", answer.message.role == "assistant" and whole.usage.completion_tokens == 16, answer.message.content)
    check("its logprobs", all(bytes(token.bytes).decode() == token.token and len(token.top_logprobs) == 3 for token in answer.logprobs.content) and len(answer.logprobs.content) == 16)
    with client.chat.completions.stream(model=MODEL, messages=messages, temperature=0, max_completion_tokens=16) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
    check("its stream", "".join(deltas) == answer.message.content and len(deltas) > 4)


def check_refusals(client):
    chat = lambda **change: lambda: client.chat.completions.create(**{"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], **change})
    refused("tools", openai.BadRequestError, chat(tools=[{"type": "function", "function": {"name": "f"}}]), param="tools")
    refused("an image", openai.BadRequestError, chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]), param="messages[0].content[0]")
    refused("JSON mode", openai.BadRequestError, chat(response_format={"type": "json_object"}), param="response_format")
    refused("an unknown field", openai.BadRequestError, chat(extra_body={"temprature": 1}), code="unknown_parameter")
    refused("too long an answer", openai.BadRequestError, chat(max_tokens=100_000), code="context_length_exceeded")
    refused("a suffix", openai.BadRequestError, lambda: client.completions.create(model=MODEL, prompt="a", suffix="b"), param="suffix")
    busy = refused("a request beyond the queue", openai.RateLimitError, lambda: client.completions.create(model=MODEL, prompt=["word"] * 100, max_tokens=200), code="concurrency_limit")
    check("with the time to come back", int(busy.response.headers["retry-after"]) >= 1)


def check_extensions(client):
    saes = subprocess.run([node, str(root / "tools/cli/bin/mistral-sae.mjs"), "--address", os.environ["MISTRAL_SAE_ADDRESS"], "--json", "sae", "ls"], capture_output=True, text=True)
    if saes.returncode != 0 or not json.loads(saes.stdout):
        print("no SAE is loaded: steering and features are not checked")
        return
    plain = client.completions.create(model=MODEL, prompt=STORY, temperature=0, max_tokens=16)
    steered = client.completions.create(model=MODEL, prompt=STORY, temperature=0, max_tokens=16, extra_body={"steering": [{"feature": 0, "strength": 0.6}], "features": {"top_k": 4}})
    check("steering changes the text and proves it", steered.choices[0].text != plain.choices[0].text and steered.steering["applied_steps"] == steered.steering["expected_steps"] >= 15, steered.choices[0].text)
    check("features of each token", [len(token["top"]) for token in steered.choices[0].features] == [4] * 16)


def main():
    with tempfile.TemporaryDirectory() as temporary:
        processes = []

        def start(name, **env):
            given = {**os.environ, "MISTRAL_SAE_LISTEN": "127.0.0.1:0", "MISTRAL_SAE_DATA": f"{temporary}/{name}", "MISTRAL_SAE_PARENT_PIPE": "1", **env}
            process = subprocess.Popen([node, str(root / f"services/{name}/src/main.ts")], env=given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            processes.append(process)
            return next(json.loads(line)["address"] for line in process.stdout if line.startswith('{"ready"'))

        try:
            if len(sys.argv) > 1:
                url = sys.argv[1]
                os.environ.setdefault("MISTRAL_SAE_ADDRESS", "127.0.0.1:50050")
            else:
                with socket.socket() as free:
                    free.bind(("127.0.0.1", 0))
                    http = f"127.0.0.1:{free.getsockname()[1]}"
                inference = start("inference", MISTRAL_SAE_MODELS=f"{MODEL}={demo}", MISTRAL_SAE_INFERENCE_MAX_QUEUED="8", MISTRAL_SAE_INFERENCE_MAX_BATCH_ROWS="16")
                start("gateway", MISTRAL_SAE_INFERENCE=inference, MISTRAL_SAE_GATEWAY_HTTP_LISTEN=http)
                os.environ["MISTRAL_SAE_ADDRESS"] = inference
                url = f"http://{http}"
                random_sae(pathlib.Path(temporary) / "sae", inference)
            client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
            check_models(client)
            check_logprobs(client, check_completions(client))
            check_chats(client)
            check_extensions(client)
            if len(sys.argv) == 1:
                check_refusals(client)
        finally:
            for process in reversed(processes):
                process.stdin.close()
                process.wait(30)
    print(f"{checked} checks passed with openai {openai.__version__}")


def random_sae(folder, inference):
    """Registers an SAE of random directions, where safetensors is installed."""
    if importlib.util.find_spec("safetensors") is None:
        return
    import numpy as np
    from safetensors.numpy import save_file

    w_dec = np.random.default_rng(1).standard_normal((512, 192)).astype(np.float32)
    w_dec /= np.linalg.norm(w_dec, axis=1, keepdims=True)
    folder.mkdir()
    save_file({"W_enc": np.ascontiguousarray(w_dec.T), "b_enc": np.zeros(512, np.float32), "W_dec": w_dec, "b_dec": np.zeros(192, np.float32)}, folder / "sae_weights.safetensors")
    config = {"architecture": "topk", "d_in": 192, "d_sae": 512, "k": 8, "dtype": "float32", "apply_b_dec_to_input": True, "normalize_activations": "none", "metadata": {"hook_name": "blocks.2.hook_resid_pre"}}
    (folder / "cfg.json").write_text(json.dumps(config))
    subprocess.run([node, str(root / "tools/cli/bin/mistral-sae.mjs"), "--address", inference, "-q", "sae", "register", str(folder), "--id", "random", "--validate", "skip"], check=True, stdout=subprocess.DEVNULL)


main()
