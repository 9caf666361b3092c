"""Holds what `mistral-sae train` writes to sae-lens: each architecture is trained for some steps on rows from a file, loaded with SAE.load_from_disk,
and SAELens' activations and reconstructions must be those of `sae encode`.

Needs torch and sae-lens: python tools/check/python/sae_trained.py. Exits with 1 when a difference exceeds 1e-5 relative to the largest value.
"""
import pathlib
import subprocess
import sys
import tempfile

import torch
from sae_lens import SAE
from safetensors.torch import load_file, save_file

import sae_folders as folders

here = pathlib.Path(__file__).resolve().parents[3]
command = [str(here / "node_modules/.bin/node"), str(here / "tools/cli/bin/mistral-sae.mjs"), "-q"]
K = ["--k", "8"]
CASES = {
    "standard": [],
    "gated": [],
    "jumprelu": [],
    "topk": K,
    "abstopk": K,
    "batchtopk": K,
    "matryoshka_batchtopk": [*K, "--matryoshka-widths", "32,64"],
}


def run(*arguments):
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip()[-500:])


def difference(got, wanted):
    return float((got - wanted).abs().max() / max(1.0, float(wanted.abs().max())))


def main():
    folders.ROWS = 4096
    x = folders.rows(1)
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        save_file({"x": x}, root / "x.safetensors")
        for (architecture, options), norm in [(case, norm) for case in CASES.items() for norm in ["none", "layer_norm", "expected_average_only_in"]]:
            out = root / f"{architecture}-{norm}"
            try:
                run("train", "--activations", root / "x.safetensors", "--out", out, "--architecture", architecture, "--d-sae", 128, "--steps", 60, "--batch-tokens", 128, "--normalize-activations", norm, "--lr", "1e-3", *options)
                run("sae", "encode", "--sae", out, "--input", root / "x.safetensors", "--output", root / "codes.safetensors")
                ours = load_file(root / "codes.safetensors")
                sae = SAE.load_from_disk(out)
                with torch.no_grad():
                    acts = sae.encode(x)
                    figures = difference(acts, ours["feature_acts"]), difference(sae(x), ours["reconstruction"])
                problem = "" if max(figures) <= 1e-5 else "differs"
                told = f"{figures[0]:.1e} {figures[1]:.1e} {type(sae).__name__}, L0 {float((acts != 0).sum(-1).float().mean()):.1f}"
            except Exception as error:  # what the library raises is the finding
                problem, told = "failed", f"{type(error).__name__}: {error}"
            failed += problem != ""
            print(f"{'ok ' if problem == '' else 'BAD'} {architecture:22} {norm:26} {told} {problem}", flush=True)
    print(f"{failed} failed" if failed else "all hold")
    sys.exit(1 if failed else 0)


main()
