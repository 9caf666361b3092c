"""The SAELens half of `tools/check/src/quality`: rows of a model's residual stream, and SAELens' own training on them.

rows:  python quality_saelens.py rows --model DIR --text FILE.jsonl --layer 2 --rows 544000 --out rows.safetensors
train: python quality_saelens.py train --rows rows.safetensors --jobs jobs.json   (see job.ts for what a job is)

Needs torch, transformers, safetensors and sae-lens.
"""
import argparse
import json
import pathlib
import time

import torch
from safetensors.torch import load_file, save_file

torch.set_num_threads(2)
parser = argparse.ArgumentParser()
commands = parser.add_subparsers(dest="command", required=True)
rows = commands.add_parser("rows")
rows.add_argument("--model", required=True)
rows.add_argument("--text", required=True)
rows.add_argument("--layer", type=int, required=True)
rows.add_argument("--rows", type=int, required=True)
rows.add_argument("--out", required=True)
train = commands.add_parser("train")
train.add_argument("--rows", required=True)
train.add_argument("--jobs", required=True)
arguments = parser.parse_args()


def make_rows():
    """Residual stream behind `layer` blocks, every token but BOS in windows of 128, in one seeded order."""
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(pathlib.Path(arguments.model) / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    bos, window = model.config.bos_token_id, 127
    tokens, kept, batch = [], [], []
    with torch.no_grad():
        for line in pathlib.Path(arguments.text).read_text().splitlines():
            tokens += [token for token in tokenizer(json.loads(line)["text"])["input_ids"] if token != bos]
            while len(tokens) >= window:
                batch.append([bos, *tokens[:window]])
                tokens = tokens[window:]
            if len(batch) >= 64:
                hidden = model(torch.tensor(batch), output_hidden_states=True).hidden_states[arguments.layer]
                kept.append(hidden[:, 1:].reshape(-1, hidden.shape[-1]))
                batch = []
            if sum(map(len, kept)) >= arguments.rows:
                break
    x = torch.cat(kept)
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))][: arguments.rows]
    save_file({"x": x.contiguous()}, arguments.out)


def train_one(x, job):
    from sae_lens.config import SAETrainerConfig
    from sae_lens.registry import get_sae_training_class
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(job["seed"])
    sae_class, config_class = get_sae_training_class(job["architecture"])
    sae = sae_class(config_class.from_dict({"d_in": x.shape[1], "d_sae": job["d_sae"], "dtype": "float32", "device": "cpu", "normalize_activations": job["normalize"], **job["saelens"]}))
    sample, steps, size = 32, job["tokens"] // job["batch"], job["batch"]

    def batches():
        # What SAELens looks at for its scale is trained on all the same, as it is in ours.
        for at in [*(range(sample) if job["normalize"] in ("expected_average_only_in", "covariance_whitening") else []), *range(steps)]:
            yield x[at * size : (at + 1) * size]

    config = SAETrainerConfig(total_training_samples=steps * size, train_batch_size_samples=size, lr=job["lr"], lr_end=job["lr"] / 10, lr_decay_steps=job["lr_decay_steps"], dead_feature_window=job["dead_steps"], n_batches_for_norm_estimate=sample)
    trained = SAETrainer(cfg=config, sae=sae, data_provider=batches()).fit()
    trained.save_inference_model(job["out"])


def train_all():
    x = load_file(arguments.rows)["x"]
    for job in json.loads(pathlib.Path(arguments.jobs).read_text()):
        start = time.time()
        train_one(x, job)
        print(json.dumps({"out": job["out"], "seconds": round(time.time() - start, 1)}), flush=True)


make_rows() if arguments.command == "rows" else train_all()
