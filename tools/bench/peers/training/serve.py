"""Holds the peers of the SAE trainer in one process and runs one optimiser step of one of them at a time, as asked on stdin.

python serve.py --batches rows.f32 --d-in D --d-sae H --k K --batch B --architecture A --dead SHARE --threads T --peers original,saelens,sparsify
stdout: {"ready": [{"peer", "version"}], "missing": [{"peer", "reason"}]}, then for each {"peer", "batch"} on stdin {"wall_ms", "cpu_ms", "peak_rss", "loss"}.
"""
import argparse
import importlib
import json
import os
import resource
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--batches", required=True, help="raw f32 rows, whole batches one after the other")
for size in ("--d-in", "--d-sae", "--k", "--batch", "--threads"):
    parser.add_argument(size, type=int, required=True)
parser.add_argument("--peers", required=True)
parser.add_argument("--architecture", required=True)
parser.add_argument("--dead", type=float, required=True, help="share of the latents that are dead at every step")
args = parser.parse_args()
# Waiting threads must not take the cores from whoever's turn it is.
os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="0", KMP_BLOCKTIME="0", OMP_NUM_THREADS=str(args.threads), MKL_NUM_THREADS=str(args.threads))

import numpy as np  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(args.threads)
torch.manual_seed(0)
answers = os.fdopen(os.dup(1), "w", buffering=1)
sys.stdout = sys.stderr  # the peers print; the answers have a channel of their own


def answer(message):
    answers.write(json.dumps(message) + "\n")


rows = torch.from_numpy(np.fromfile(args.batches, dtype=np.float32).reshape(-1, args.batch, args.d_in))
batches = [rows[i].contiguous() for i in range(rows.shape[0])]
steps, ready, missing = {}, [], []
for peer in args.peers.split(","):
    try:
        version, steps[peer] = importlib.import_module(f"peer_{peer}").make(args)
        steps[peer](batches[0])
        ready.append({"peer": peer, "version": version})
    except Exception as error:  # whatever one peer does wrong, the others can run
        missing.append({"peer": peer, "reason": f"{type(error).__name__}: {error}"[:300]})
answer({"ready": ready, "missing": missing})

for line in sys.stdin:
    asked = json.loads(line)
    step, batch = steps[asked["peer"]], batches[asked["batch"]]
    wall, cpu = time.perf_counter(), time.process_time()
    loss = step(batch)
    answer({"wall_ms": (time.perf_counter() - wall) * 1e3, "cpu_ms": (time.process_time() - cpu) * 1e3, "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "loss": float(loss)})
