"""Holds the trainer of every architecture against torch autograd in f64, with sae-lens' own training classes where they train the same thing.

  $MISTRAL_SAE_BENCH_PYTHON tools/check/python/training_gradients.py [--fixtures FOLDER]

Gradients of one step differ by less than 1e-5 of the tensor's largest gradient, parameters after 100 steps by less than 1e-4 (absolute;
they are of order 1). Exits with 1 where they do not. --fixtures also writes what vitest holds the trainer to without Python.

sae-lens: standard, gated, jumprelu; topk, abstopk, batchtopk, matryoshka_batchtopk without dead latents, with our constraint of unit decoder
rows around them. Written here from libs/sae's documented formulas: AuxK, layer_norm, transcoders.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")
import torch
from safetensors.torch import load_file, save_file
from sae_lens.saes import abstopk_sae, batchtopk_sae, gated_sae, jumprelu_sae, matryoshka_batchtopk_sae, standard_sae, topk_sae
from sae_lens.saes.sae import TrainStepInput

torch.set_num_threads(1)
root = pathlib.Path(__file__).resolve().parents[3]
D, H, ROWS, STEPS = 12, 48, 32, 100
EPSILON = 1e-5  # Of Adam: entries whose gradient is rounding noise then take no whole steps.
GRADIENT_TOLERANCE, PARAMETER_TOLERANCE = 1e-5, 1e-4

base = {"dIn": D, "dSae": H, "trainBatchSizeTokens": ROWS, "trainingTokens": ROWS * STEPS, "lr": 1e-3, "adamEpsilon": EPSILON, "gradClipNorm": 1, "normalizeActivations": "none", "bDecInitMethod": "zeros", "threads": 2}
jumprelu = {"architecture": "jumprelu", "jumpreluInitThreshold": 0.1, "jumpreluBandwidth": 0.2, "l0Coefficient": 0.05}
# sparse: subtracted from the biases, so that few features are active. k_aux 0 keeps ours from AuxK where sae-lens has another.
cases = {
    "standard": {"architecture": "standard", "l1Coefficient": 0.3},
    "standard-sparse-warm-up": {"architecture": "standard", "l1Coefficient": 0.3, "l1WarmUpSteps": 40, "sparse": 1.2},
    "standard-p-0.8": {"architecture": "standard", "l1Coefficient": 0.05, "lpNorm": 0.8, "sparse": 1.2},
    "gated": {"architecture": "gated", "l1Coefficient": 0.2},
    "gated-sparse": {"architecture": "gated", "l1Coefficient": 0.2, "sparse": 1.2},
    "jumprelu-step": jumprelu,
    "jumprelu-step-sparse-ste": {**jumprelu, "jumpreluSteToInput": True, "l0WarmUpSteps": 40, "sparse": 1.2},
    "jumprelu-tanh-pre-act": {**jumprelu, "jumpreluSparsityLossMode": "tanh", "jumpreluSteToInput": True, "preActLossCoefficient": 0.01, "deadFeatureWindowTokens": ROWS, "sparse": 1.5},
    "jumprelu-tanh": {**jumprelu, "jumpreluSparsityLossMode": "tanh"},
    "topk": {"architecture": "topk", "k": 4, "kAux": 0},
    "abstopk": {"architecture": "abstopk", "k": 4, "kAux": 0},
    "batchtopk": {"architecture": "batchtopk", "k": 4, "kAux": 0},
    "matryoshka_batchtopk": {"architecture": "matryoshka_batchtopk", "k": 4, "kAux": 0, "matryoshkaWidths": [8, 20, H]},
    "topk-auxk": {"architecture": "topk", "k": 2, "kAux": 6, "auxLossCoefficient": 0.25, "deadFeatureWindowTokens": ROWS, "sparse": 0.6},
    "topk-layer_norm-auxk": {"architecture": "topk", "k": 2, "kAux": H, "auxLossCoefficient": 0.25, "deadFeatureWindowTokens": ROWS, "normalizeActivations": "layer_norm", "sparse": 0.6},
    "batchtopk-auxk": {"architecture": "batchtopk", "k": 2, "kAux": 6, "auxLossCoefficient": 0.25, "deadFeatureWindowTokens": ROWS, "sparse": 0.6},
    "standard-transcoder": {"architecture": "standard", "l1Coefficient": 0.3, "dOut": 10, "sparse": 1.2},
    "gated-transcoder": {"architecture": "gated", "l1Coefficient": 0.2, "dOut": 10},
    "jumprelu-tanh-skip-transcoder": {**jumprelu, "jumpreluSparsityLossMode": "tanh", "jumpreluSteToInput": True, "dOut": 10, "skipConnection": True, "sparse": 1.2},
    "topk-transcoder": {"architecture": "topk", "k": 4, "kAux": 0, "dOut": 10},
    "topk-skip-transcoder-auxk": {"architecture": "topk", "k": 2, "kAux": 6, "auxLossCoefficient": 0.25, "deadFeatureWindowTokens": ROWS, "dOut": 10, "skipConnection": True, "sparse": 0.6},
}
penalised = ("standard", "gated", "jumprelu")


def sae_lens_class(case):
    shared = {"d_in": D, "d_sae": H, "dtype": "float64"}
    plain = {**shared, "k": case.get("k"), "rescale_acts_by_decoder_norm": False}
    match case["architecture"]:
        case "standard":
            return standard_sae.StandardTrainingSAE(standard_sae.StandardTrainingSAEConfig(**shared, l1_coefficient=case["l1Coefficient"], lp_norm=case.get("lpNorm", 1)))
        case "gated":
            return gated_sae.GatedTrainingSAE(gated_sae.GatedTrainingSAEConfig(**shared, l1_coefficient=case["l1Coefficient"]))
        case "jumprelu":
            config = jumprelu_sae.JumpReLUTrainingSAEConfig(**shared, jumprelu_init_threshold=case["jumpreluInitThreshold"], jumprelu_bandwidth=case["jumpreluBandwidth"], jumprelu_sparsity_loss_mode=case.get("jumpreluSparsityLossMode", "step"), jumprelu_ste_to_input=case.get("jumpreluSteToInput", False), pre_act_loss_coefficient=case.get("preActLossCoefficient"))
            sae = jumprelu_sae.JumpReLUTrainingSAE(config)
            sae.threshold.data = sae.threshold.data.double()
            return sae
        case "topk":
            return topk_sae.TopKTrainingSAE(topk_sae.TopKTrainingSAEConfig(**plain))
        case "abstopk":
            return abstopk_sae.AbsTopKTrainingSAE(abstopk_sae.AbsTopKTrainingSAEConfig(**plain))
        case "batchtopk":
            return batchtopk_sae.BatchTopKTrainingSAE(batchtopk_sae.BatchTopKTrainingSAEConfig(**plain))
        case "matryoshka_batchtopk":
            return matryoshka_batchtopk_sae.MatryoshkaBatchTopKTrainingSAE(matryoshka_batchtopk_sae.MatryoshkaBatchTopKTrainingSAEConfig(**plain, matryoshka_widths=list(case["matryoshkaWidths"])))


class SaeLens:
    """Loss by sae-lens; dead latents by our rule, which counts the batch first."""

    def __init__(self, case, start):
        self.case, self.sae = case, sae_lens_class(case)
        self.parameters = dict(self.sae.named_parameters())
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                value = start[name].double()
                parameter.copy_(value.T if name == "W_enc" else value)
        self.since = torch.zeros(H)

    def loss(self, rows, step):
        with torch.no_grad():
            fired = (self.sae.encode(rows) != 0).any(0)
        self.since = torch.where(fired, 0, self.since + len(rows))
        dead = self.since >= self.case.get("deadFeatureWindowTokens", 10_000_000)
        coefficients = {}
        for name in ("l0", "l1"):
            full, warm_up = self.case.get(f"{name}Coefficient", 0.0), self.case.get(f"{name}WarmUpSteps", 0)
            coefficients[name] = full * step / warm_up if step < warm_up else full
        return self.sae.training_forward_pass(TrainStepInput(sae_in=rows, coefficients=coefficients, dead_neuron_mask=dead, n_training_steps=step, is_logging_step=False)).loss


class Documented:
    """Gao et al. 2024 with AuxK as gao-step.ts states it, and transcoders of all architectures."""

    def __init__(self, case, start):
        self.case = case
        self.parameters = {name: (value.T if name == "W_enc" else value).double().clone().requires_grad_() for name, value in start.items()}
        self.since = torch.zeros(H)

    def select(self, pre, k):
        if self.case["architecture"] == "batchtopk":
            flat = pre.relu().flatten()
            top = flat.topk(k * len(pre))
            return torch.zeros_like(flat).scatter(0, top.indices, top.values).reshape(pre.shape)
        return top_k(pre, k)

    def loss(self, rows, step):
        p, case = self.parameters, self.case
        given, wanted = (rows[:, :D], rows[:, D:]) if "dOut" in case else (rows, rows)
        if case.get("normalizeActivations") == "layer_norm":
            centered = rows - rows.mean(-1, keepdim=True)
            given = wanted = centered / (centered.pow(2).sum(-1, keepdim=True).div(D - 1).sqrt() + 1e-5)
        centered = given if "dOut" in case else given - p["b_dec"]
        if case["architecture"] in penalised:
            return self.penalised_loss(given, centered, wanted)
        pre = centered @ p["W_enc"] + p["b_enc"]
        z = self.select(pre, case["k"])
        made = z @ p["W_dec"] + p["b_dec"]
        if "W_skip" in p:
            made = made + given @ p["W_skip"].T
        error = wanted - made
        loss = case["mseScale"] * error.pow(2).mean()
        self.since = torch.where((z > 0).any(0), 0, self.since + len(rows))
        dead = self.since >= case.get("deadFeatureWindowTokens", 10_000_000)
        k_aux = min(case["kAux"], int(dead.sum()))
        if k_aux > 0:
            residual = error.detach()
            estimate = top_k(pre.masked_fill(~dead, -torch.inf), k_aux) @ p["W_dec"]
            loss = loss + case["auxLossCoefficient"] * (estimate - residual).pow(2).mean() / (residual - residual.mean(0)).pow(2).mean()
        return loss


    def penalised_loss(self, given, centered, wanted):
        p, case = self.parameters, self.case
        norms = p["W_dec"].norm(dim=1)
        rest = wanted - given @ p["W_skip"].T if "W_skip" in p else wanted
        squares = lambda code: (code @ p["W_dec"] + p["b_dec"] - rest).pow(2).sum(-1).mean()
        match case["architecture"]:
            case "standard":
                z = (centered @ p["W_enc"] + p["b_enc"]).relu()
                return squares(z) + case["l1Coefficient"] * (z * norms).sum(-1).mean()
            case "gated":
                product = centered @ p["W_enc"]
                gate = (product + p["b_gate"]).relu()
                z = (gate > 0) * (product * p["r_mag"].exp() + p["b_mag"]).relu()
                return squares(z) + squares(gate) + case["l1Coefficient"] * (gate * norms).sum(-1).mean()
            case "jumprelu":
                pre = centered @ p["W_enc"] + p["b_enc"]
                z = jumprelu_sae.JumpReLU.apply(pre, p["threshold"], case["jumpreluBandwidth"], case["jumpreluSteToInput"])
                return squares(z) + case["l0Coefficient"] * torch.tanh(4 * z * norms).sum(-1).mean()


def top_k(pre, k):
    values, indices = pre.topk(k, dim=-1)
    return torch.zeros_like(pre).scatter(-1, indices, values.relu())


def gradients(trainer, case, rows, step):
    """Of every parameter, without the part along unit decoder rows where they are kept so."""
    for parameter in trainer.parameters.values():
        parameter.grad = None
    trainer.loss(rows, step).backward()
    decoder = trainer.parameters["W_dec"]
    if case["architecture"] not in penalised:
        decoder.grad -= (decoder.grad * decoder.detach()).sum(-1, keepdim=True) * decoder.detach()
    for parameter in trainer.parameters.values():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return by_feature({name: parameter.grad for name, parameter in trainer.parameters.items()})


def by_feature(tensors):
    """Matrices as the trainer stores them: W_enc [d_sae, d_in]."""
    return {name: (value.T if name == "W_enc" else value).detach().clone().contiguous() for name, value in tensors.items()}


def reference(case, start, x):
    make = SaeLens if is_sae_lens(case) else Documented
    first = gradients(make(case, start), case, x[:ROWS].double(), 0)
    trainer = make(case, start)
    optimizer = torch.optim.Adam(trainer.parameters.values(), lr=1e-3, eps=EPSILON)
    for step in range(STEPS):
        gradients(trainer, case, x[step * ROWS : (step + 1) * ROWS].double(), step)
        torch.nn.utils.clip_grad_norm_(trainer.parameters.values(), 1)
        optimizer.step()
        with torch.no_grad():
            decoder = trainer.parameters["W_dec"]
            if case["architecture"] not in penalised:
                decoder /= decoder.norm(dim=-1, keepdim=True)
            if "threshold" in trainer.parameters:
                trainer.parameters["threshold"].clamp_(min=0)
    return first, by_feature(trainer.parameters)


def is_sae_lens(case):
    return "dOut" not in case and (case["architecture"] in penalised or case["kAux"] == 0)


def rows_of(case):
    """The same rows for all cases of one width."""
    width = D + case.get("dOut", 0)
    generator = torch.Generator().manual_seed(width)
    mixture = (torch.rand(ROWS * STEPS, 3 * width, generator=generator) < 0.08).float() @ torch.randn(3 * width, width, generator=generator)
    return (mixture + 0.1 * torch.randn(mixture.shape, generator=generator) + 0.3).contiguous()


def start_of(case, x, generator):
    """Random weights that differ in encoder and decoder, and biases other than 0, so that no gradient vanishes by symmetry."""
    d_out = case.get("dOut", D)
    decoder = torch.nn.functional.normalize(torch.randn(H, d_out, generator=generator), dim=-1)
    encoder = 0.6 * (decoder if d_out == D else torch.nn.functional.normalize(torch.randn(H, D, generator=generator), dim=-1)) + 0.05 * torch.randn(H, D, generator=generator)
    small = lambda scale: scale * torch.randn(H, generator=generator)
    bias = small(0.1) - case.get("sparse", 0) * (0.5 + torch.arange(H) % 7 / 4)
    free = case["architecture"] in penalised
    start = {"W_enc": encoder, "W_dec": decoder * (0.5 + torch.rand(H, 1, generator=generator)) if free else decoder, "b_dec": x[:, -d_out:].mean(0) * 0.5}
    if case["architecture"] == "gated":
        start |= {"b_gate": bias, "b_mag": small(0.1), "r_mag": small(0.2)}
    else:
        start["b_enc"] = bias
    if case["architecture"] == "jumprelu":
        start["threshold"] = case["jumpreluInitThreshold"] * (0.5 + torch.rand(H, generator=generator))
    if case.get("skipConnection"):
        start["W_skip"] = 0.1 * torch.randn(d_out, D, generator=generator)
    return {name: value.contiguous() for name, value in start.items()}


parser = argparse.ArgumentParser()
parser.add_argument("--fixtures", type=pathlib.Path)
fixtures = parser.parse_args().fixtures
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    configs, wanted = {}, {}
    for number, (name, options) in enumerate(cases.items()):
        generator = torch.Generator().manual_seed(number)
        x = rows_of(options)
        start = start_of(options, x, generator)
        configs[name] = {**base, "mseScale": options.get("dOut", D), **{key: value for key, value in options.items() if key != "sparse"}}
        save_file({"x": x}, folder / f"{name}.rows.safetensors")
        save_file(start, folder / f"{name}.start.safetensors")
        wanted[name] = reference({"mseScale": options.get("dOut", D), **options}, start, x)
    (folder / "cases.json").write_text(json.dumps(configs))
    script = root / "tools/check/src/acceptance/training-gradients.ts"
    subprocess.run([str(root / "node_modules/.bin/node"), str(script), str(folder)], check=True)
    failed = 0
    print(f"{'case':28s} {'oracle':10s} {'gradients (of the largest)':30s} parameters after {STEPS} steps (absolute)")
    for name, (gradient, parameters) in wanted.items():
        first, last = load_file(folder / f"{name}.gradients.safetensors"), load_file(folder / f"{name}.parameters.safetensors")
        by_gradient = {tensor: float((first[f"adam.exp_avg.{tensor}"].double() - value).abs().max() / value.abs().max().clamp(min=1e-12)) for tensor, value in gradient.items()}
        by_parameter = {tensor: float((last[tensor].double() - value).abs().max()) for tensor, value in parameters.items()}
        (worst, gradient_difference), (moved, parameter_difference) = (max(values.items(), key=lambda item: item[1]) for values in (by_gradient, by_parameter))
        held = gradient_difference < GRADIENT_TOLERANCE and parameter_difference < PARAMETER_TOLERANCE
        failed += not held
        print(f"{name:28s} {'sae-lens' if is_sae_lens(cases[name]) else 'formula':10s} {gradient_difference:.1e} {worst:20s} {parameter_difference:.1e} {moved:10s} {'ok' if held else 'BAD'}")
    if fixtures is not None and failed == 0:
        shutil.rmtree(fixtures, ignore_errors=True)
        fixtures.mkdir(parents=True)
        shutil.copy(folder / "cases.json", fixtures)
        for name, (gradient, parameters) in wanted.items():
            rows = load_file(folder / f"{name}.rows.safetensors")
            save_file(rows, fixtures / f"rows-{rows['x'].shape[1]}.safetensors")
            kept = load_file(folder / f"{name}.start.safetensors")
            kept |= {f"gradient.{tensor}": value.float() for tensor, value in gradient.items()} | {f"after.{tensor}": value.float() for tensor, value in parameters.items()}
            save_file(kept, fixtures / f"{name}.safetensors")
sys.exit(failed > 0)
