"""Runs one model with transformers on torch's CPU and measures what is asked for on stdin, one line a turn.

python serve.py --model FOLDER --threads T
stdout: {"version"}, then for each {"work", "batch", "tokens", "past", "steps", "times", "layer"} on stdin {"wall_ms", "cpu_ms"} or {"error"}.
"""
import argparse
import json
import os
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--threads", type=int, required=True)
args = parser.parse_args()
os.environ.update(OMP_NUM_THREADS=str(args.threads), MKL_NUM_THREADS=str(args.threads), TRANSFORMERS_OFFLINE="1")

import torch  # noqa: E402
import transformers  # noqa: E402

torch.set_num_threads(args.threads)
torch.manual_seed(0)
answers = os.fdopen(os.dup(1), "w", buffering=1)
sys.stdout = sys.stderr  # transformers prints; the answers have a channel of their own
model = transformers.MistralForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="sdpa").eval()


class Stop(Exception):
    pass


def ids(rows, length):
    return torch.randint(5, model.config.vocab_size, (rows, length))


def timed(run):
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return {"wall_ms": (time.perf_counter() - wall) * 1e3, "cpu_ms": (time.process_time() - cpu) * 1e3}


def decode(asked):
    """Greedy steps, batched, after a prefill that is not timed."""
    first = model(ids(asked["batch"], asked["past"]), use_cache=True, logits_to_keep=1)
    state = {"cache": first.past_key_values, "tokens": first.logits[:, -1:].argmax(-1)}

    def steps(count):
        for _ in range(count):
            out = model(state["tokens"], past_key_values=state["cache"], use_cache=True, logits_to_keep=1)
            state["cache"], state["tokens"] = out.past_key_values, out.logits[:, -1:].argmax(-1)

    return timed(lambda: steps(asked["steps"]))


def prefill(asked):
    tokens = ids(asked["batch"], asked["tokens"])
    return timed(lambda: [model(tokens, use_cache=True, logits_to_keep=1).logits[:, -1:].argmax(-1) for _ in range(asked["times"])])


def harvest(asked):
    """The residual after a layer; the forward ends there."""
    tokens, kept = ids(asked["batch"], asked["tokens"]), []

    def hook(module, inputs, output):
        kept.append(output[0] if isinstance(output, tuple) else output)
        raise Stop

    def run():
        for _ in range(asked["times"]):
            try:
                model(tokens, use_cache=False)
            except Stop:
                kept.pop().numpy().copy()

    handle = model.model.layers[asked["layer"]].register_forward_hook(hook)
    try:
        return timed(run)
    finally:
        handle.remove()


works = {"decode": decode, "prefill": prefill, "harvest": harvest}
answers.write(json.dumps({"version": f"{transformers.__version__}, torch {torch.__version__}"}) + "\n")
with torch.inference_mode():
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answers.write(json.dumps(works[asked["work"]](asked)) + "\n")
        except Exception as error:  # the others go on
            answers.write(json.dumps({"error": f"{type(error).__name__}: {error}"[:300]}) + "\n")
