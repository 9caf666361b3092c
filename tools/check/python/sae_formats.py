"""Holds `mistral-sae sae encode` and `sae convert` to the programs that write SAEs.

Reads folders that SAELens, sparsify, dictionary_learning, openai/sparse_autoencoder and the original mistral-sae write (sae_folders.py): feature
activations and reconstructions of `sae encode` must be the program's. Then converts each, loads the result with sae-lens (or with sparsify, for
what only its layout holds) and compares that library's own activations and reconstructions.

Needs torch, sae-lens, eai-sparsify, dictionary-learning and mistral-sae: python tools/check/python/sae_formats.py [--only NAME] [--openai model.py]
(--openai: sparse_autoencoder/model.py of openai's repository; its folders are left out without it). Exits with 1 when a difference exceeds 1e-5
relative to the largest value of the tensor above 1 (1e-2 where a conversion rounds folded weights to 16 bits).
"""
import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import torch
from safetensors.torch import load_file, save_file

import sae_folders as folders
from sae_folders import HEADS, ROWS, all_cases

here = pathlib.Path(__file__).resolve().parents[3]
command = [str(here / "node_modules/.bin/node"), str(here / "tools/cli/bin/mistral-sae.mjs"), "-q"]
TOLERANCE = 1e-5
# Folding into 16-bit weights rounds them again.
ROUNDED = 1e-2


def run(*arguments):
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip()[-600:])


def difference(got, wanted):
    wanted = wanted.float()
    return float((got.float() - wanted).abs().max() / max(1.0, float(wanted.abs().max())))


def encode(case, out):
    rows_file = out / "x.safetensors"
    save_file({"x": case.x.contiguous()}, rows_file)
    run("sae", "encode", "--sae", case.path, "--input", rows_file, "--output", out / "out.safetensors", *case.options)
    found = load_file(out / "out.safetensors")
    return difference(found["feature_acts"], case.acts), difference(found["reconstruction"], case.recons)


def reload(case, out):
    """What the library makes of the folder that `sae convert` writes; the activations of a fold may differ by design, so those of ours decide."""
    folder = out / "layers.1"
    run("sae", "convert", case.path, folder, "--format", case.writes, *case.options)
    ours = load_file(out / "out.safetensors")
    with torch.no_grad():
        if case.writes == "sparsify":
            from sparsify import SparseCoder

            coder = SparseCoder.load_from_disk(folder).float()
            result = coder(case.x)
            acts = torch.zeros(ROWS, coder.num_latents).scatter(-1, result.latent_indices, result.latent_acts)
            return difference(acts, ours["feature_acts"]), difference(result.sae_out, case.recons)
        from sae_lens import SAE

        sae = SAE.load_from_disk(folder).to(dtype=torch.float32)
        given = case.x.reshape(ROWS, HEADS, -1) if sae.cfg.reshape_activations == "hook_z" else case.x
        return difference(sae.encode(given), ours["feature_acts"]), difference(sae(given).reshape(ROWS, -1), case.recons)


def check(case, root, index):
    out = root / f"out-{index}"
    out.mkdir()
    try:
        read = encode(case, out)
        written = reload(case, out) if case.writes else (0.0, 0.0)
    except RuntimeError as error:
        return case, None, None, str(error)
    limit = ROUNDED if case.dtype in ("float16", "bfloat16") and ("AutoEncoder " in case.name) else TOLERANCE
    return case, read, written, "" if max(read) <= TOLERANCE and max(written) <= limit else "differs"


FIXTURES = [
    "topk layer_norm rescale",
    "gated constant_norm_rescale no-b_dec",
    "jumprelu_skip_transcoder layer_norm",
    "matching_pursuit none",
    "training batchtopk covariance_whitening rescale",
    "training jumprelu expected_average_only_in",
    "sparsify groupmax transcode skip float32",
    "sparsify topk skip bfloat16",
    "AutoEncoder ae.pt",
    "MatryoshkaBatchTopKSAE ae.pt",
    "GatedAutoEncoder bfloat16",
]


def write_fixtures(folder):
    """Small folders for the tests that need no Python, each with io.safetensors beside it."""
    folders.D_IN, folders.D_SAE, folders.D_OUT, folders.ROWS = 12, 32, 10, 14
    with tempfile.TemporaryDirectory() as scratch:
        found = {case.name: case for case in folders.all_cases(pathlib.Path(scratch))}
        for name in FIXTURES:
            case, target = found[name], folder / name.replace(" ", "_")
            shutil.copytree(case.path.parent if case.name.startswith("sparsify") else case.path, target)
            save_file({"x": case.x, "feature_acts": case.acts.contiguous().float(), "reconstruction": case.recons.contiguous().float()}, target / "io.safetensors")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--openai", type=pathlib.Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--write-fixtures", type=pathlib.Path)
    options = parser.parse_args()
    if options.write_fixtures is not None:
        write_fixtures(options.write_fixtures)
        return
    torch.set_num_threads(1)
    failed = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        root = pathlib.Path(folder)
        cases = [case for case in all_cases(root, options.openai) if options.only in case.name]
        print(f"{len(cases)} folders; largest differences: activations and reconstructions as read, then as the library reads what is written")
        for case, read, written, problem in pool.map(lambda pair: check(pair[1], root, pair[0]), enumerate(cases)):
            failed += problem != ""
            figures = " ".join(f"{value:.1e}" for value in [*(read or ()), *(written or ())])
            print(f"{'ok ' if problem == '' else 'BAD'} {case.name:60} {figures} {problem}", flush=True)
    print(f"{failed} of {len(cases)} failed" if failed else f"all {len(cases)} hold")
    sys.exit(1 if failed else 0)


main()
