"""SAE folders as SAELens, sparsify, dictionary_learning, openai/sparse_autoencoder and the original mistral-sae write them, with what the program
itself makes of some rows. Random weights: decoder rows are not unit vectors unless the program makes them so, biases and thresholds are not zero.
"""
import copy
import dataclasses
import importlib.util
import itertools
import json
import os
import pathlib
import sys
import unittest.mock
import warnings

import torch
from safetensors.torch import save_file

D_IN, D_SAE, D_OUT, K, ROWS, HEADS = 48, 160, 40, 9, 70, 4
DTYPES = {"float32": torch.float32, "float64": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16}
META = {"hook_name": "blocks.1.hook_resid_post", "model_name": "demo", "context_size": 64, "odd": {"kept": [1, None]}}

warnings.filterwarnings("ignore")
os.environ["TQDM_DISABLE"] = "1"


@dataclasses.dataclass
class Case:
    name: str
    path: pathlib.Path
    x: torch.Tensor
    acts: torch.Tensor
    recons: torch.Tensor
    options: list[str] = dataclasses.field(default_factory=list)
    # What the folder is to be written as; none where no library can hold it.
    writes: str | None = "saelens"
    # f16 and bf16 weights, computed in f32; a fold then rounds nothing.
    dtype: str = "float32"


def rows(seed):
    """Mixtures of few directions about a mean with an outlier column."""
    width, count = D_IN, ROWS
    g = torch.Generator().manual_seed(seed)
    directions = torch.randn(3 * width, width, generator=g)
    weights = torch.rand(count, 3 * width, generator=g) * (torch.rand(count, 3 * width, generator=g) < 0.06)
    mean = torch.randn(width, generator=g)
    mean[3] = 12.0
    return (weights @ directions + mean + 0.05 * torch.randn(count, width, generator=g)).contiguous()


def randomise(module, seed, unit_rows=False):
    """Gives every float parameter and buffer values of its own kind."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in [*module.named_parameters(), *module.named_buffers()]:
            if not p.is_floating_point() or name in ("topk_threshold", "threshold") and p.ndim == 0:
                continue
            noise = torch.randn(p.shape, generator=g)
            if name.endswith("threshold"):
                noise = noise.abs() * 0.5
            elif p.ndim == 2:
                noise *= 0.6 + torch.rand(p.shape[0], 1, generator=g)
                noise /= p.shape[-1] ** 0.5 if name != "W_skip" else p.shape[-1]
            else:
                noise *= 0.3
            p.copy_(noise)
            if unit_rows and name == "W_dec":
                p.div_(p.norm(dim=-1, keepdim=True))
    return module


def in_f32(sae):
    """The same weights, computing in f32."""
    if sae.dtype == torch.float32:
        return sae
    wide = copy.deepcopy(sae)
    return wide.to(dtype=torch.float32)


# --- SAELens ---


def saelens(root):
    from sae_lens.registry import get_sae_class
    from sae_lens.saes.sae import SAEMetadata

    def make(name, architecture, seed, **options):
        cls, cfg_cls = get_sae_class(architecture)
        cfg = cfg_cls(d_in=D_IN, d_sae=D_SAE, device="cpu", metadata=SAEMetadata(**META, **({"hook_name_out": "blocks.1.hook_mlp_out"} if "transcoder" in architecture else {})), **options)
        sae = randomise(cls(cfg), seed, unit_rows=architecture == "matching_pursuit")
        folder = root / "saelens" / name
        sae.save_model(folder)
        x = rows(seed)
        wide = in_f32(sae)
        with torch.no_grad():
            given = x.reshape(ROWS, HEADS, -1) if options.get("reshape_activations") == "hook_z" else x
            acts = wide.encode(given)
            recons = wide(given).reshape(ROWS, -1)
        return Case(name, folder, x, acts, recons, dtype=options.get("dtype", "float32"))

    count = itertools.count(1)
    by_k = ["topk", "abstopk"]
    for architecture, norm, subtract in itertools.product(["standard", "jumprelu", "gated", *by_k, "matching_pursuit"], ["none", "layer_norm", "constant_norm_rescale"], [True, False]):
        for rescale in [True, False] if architecture in by_k else [None]:
            more = {} if rescale is None else {"k": K, "rescale_acts_by_decoder_norm": rescale}
            name = f"{architecture} {norm}{'' if subtract else ' no-b_dec'}{' rescale' if rescale else ''}"
            yield make(name, architecture, next(count), normalize_activations=norm, apply_b_dec_to_input=subtract, **more)
    for architecture, norm in itertools.product(["transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"], ["none", "layer_norm", "constant_norm_rescale"]):
        yield make(f"{architecture} {norm}", architecture, next(count), normalize_activations=norm, apply_b_dec_to_input=False, d_out=D_OUT)
    for architecture, dtype in itertools.product(["standard", "jumprelu", "gated", "topk", "transcoder"], ["float64", "float16", "bfloat16"]):
        more = {"k": K, "rescale_acts_by_decoder_norm": True} if architecture == "topk" else {"d_out": D_OUT, "apply_b_dec_to_input": False} if architecture == "transcoder" else {}
        yield make(f"{architecture} {dtype}", architecture, next(count), dtype=dtype, **more)
    for options in [{"residual_threshold": 0.0}, {"residual_threshold": 0.5, "stop_on_duplicate_support": False}, {"residual_threshold": 0.0, "stop_on_duplicate_support": False, "max_iterations": 7}]:
        yield make(f"matching_pursuit {json.dumps(options)}".replace('"', ""), "matching_pursuit", next(count), **options)
    META["hook_name"] = "blocks.1.attn.hook_z"
    for architecture in ["standard", "topk"]:
        yield make(f"{architecture} hook_z", architecture, next(count), reshape_activations="hook_z", **({"k": K} if architecture == "topk" else {}))
    META["hook_name"] = "blocks.1.hook_resid_post"
    yield make("standard k of every feature", "topk", next(count), k=D_SAE)


def saelens_legacy(root):
    """Flat configurations as SAELens wrote them before version 6."""
    from sae_lens import SAE
    from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
    from sae_lens.saes.gated_sae import GatedSAE, GatedSAEConfig
    from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig

    kinds = {"standard": (StandardSAE, StandardSAEConfig), "gated": (GatedSAE, GatedSAEConfig), "jumprelu": (JumpReLUSAE, JumpReLUSAEConfig)}
    flat = {"d_in": D_IN, "d_sae": D_SAE, "dtype": "torch.float32", "device": "cuda", "model_name": "gpt2-small", "hook_layer": 3, "prepend_bos": True, "context_size": 128, "dataset_path": "a/b", "lp_norm": 1.0}
    variants = {
        "v1 flat": ("standard", {"hook_point": "blocks.3.hook_resid_pre", "hook_point_head_index": None, "normalize_activations": False}),
        "v2 activation_fn_str": ("standard", {"hook_name": "blocks.3.hook_resid_pre", "activation_fn_str": "relu", "activation_fn_kwargs": {}, "normalize_activations": "none", "apply_b_dec_to_input": False}),
        "v3 topk in the activation": ("standard", {"architecture": "standard", "hook_name": "blocks.3.hook_resid_pre", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}, "normalize_activations": "layer_norm", "apply_b_dec_to_input": True}),
        "v4 topk": ("standard", {"architecture": "topk", "hook_name": "blocks.3.hook_mlp_out", "activation_fn": "topk", "activation_fn_kwargs": {"k": K}, "normalize_activations": "constant_norm_rescale"}),
        "v5 topk without its activation": ("standard", {"architecture": "topk", "hook_name": "blocks.3.hook_mlp_out", "activation_fn_kwargs": {"k": K}}),
        "v6 gated": ("gated", {"architecture": "gated", "hook_name": "blocks.3.hook_resid_pre", "activation_fn_str": "relu", "normalize_activations": "none", "finetuning_scaling_factor": False, "sae_lens_training_version": "3.14.0"}),
        "v7 jumprelu": ("jumprelu", {"architecture": "jumprelu", "hook_name": "blocks.3.hook_resid_pre", "apply_b_dec_to_input": False, "normalize_activations": None}),
        "v8 hook_z": ("standard", {"hook_point": "blocks.3.attn.hook_z", "dtype": "float32"}),
        "v9 scaling_factor of ones": ("standard", {"hook_name": "blocks.3.hook_resid_pre", "finetuning_scaling_factor": False}),
        "v10 version 5": ("standard", {"hook_name": "blocks.3.hook_resid_pre", "sae_lens_version": "5.11.0", "seqpos_slice": [None], "neuronpedia_id": "x/y"}),
    }
    for seed, (name, (kind, changes)) in enumerate(variants.items(), 500):
        cls, cfg_cls = kinds[kind]
        sae = randomise(cls(cfg_cls(d_in=D_IN, d_sae=D_SAE)), seed)
        folder = root / "saelens legacy" / name
        sae.save_model(folder)
        (folder / "cfg.json").write_text(json.dumps({**flat, **changes}))
        if "scaling_factor" in name:
            save_file({**sae.state_dict(), "scaling_factor": torch.ones(D_SAE)}, folder / "sae_weights.safetensors")
        x = rows(seed)
        loaded = SAE.load_from_disk(folder)
        given = x.reshape(ROWS, HEADS, -1) if "hook_z" in name else x
        with torch.no_grad():
            yield Case(f"legacy {name}", folder, x, loaded.encode(given), loaded(given).reshape(ROWS, -1))


def saelens_training(root):
    """Training checkpoints, decoder norms unfolded, the scaling or whitening of their inputs in files beside; and the inference form of the same."""
    from sae_lens import SAE
    from sae_lens.registry import get_sae_training_class
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.training.activation_scaler import ActivationScaler

    count = itertools.count(900)
    kinds = {"standard": {}, "gated": {}, "jumprelu": {}, "topk": {"k": K}, "abstopk": {"k": K}, "batchtopk": {"k": float(K)}, "matryoshka_batchtopk": {"k": float(K), "matryoshka_widths": [D_SAE // 4, D_SAE // 2]}, "matching_pursuit": {}}
    for (architecture, more), norm, subtract in itertools.product(kinds.items(), ["none", "layer_norm", "expected_average_only_in", "covariance_whitening"], [True, False]):
        by_k = "topk" in architecture
        if architecture == "matching_pursuit" and norm == "covariance_whitening":
            continue
        for rescale in [True, False] if by_k else [None]:
            seed = next(count)
            cls, cfg_cls = get_sae_training_class(architecture)
            options = {**more, **({"rescale_acts_by_decoder_norm": rescale, "aux_loss_coefficient": 0.0} if by_k else {})}
            sae = randomise(cls(cfg_cls(d_in=D_IN, d_sae=D_SAE, device="cpu", normalize_activations=norm, apply_b_dec_to_input=subtract, metadata=SAEMetadata(**META), **options)), seed, unit_rows=architecture == "matching_pursuit")
            if hasattr(sae, "topk_threshold"):
                sae.topk_threshold = torch.tensor(0.7, dtype=torch.double)
            name = f"training {architecture} {norm}{'' if subtract else ' no-b_dec'}{' rescale' if rescale else ''}"
            folder = root / "saelens training" / name
            sae.save_model(folder)
            x = rows(seed)
            scaler = ActivationScaler()
            if norm == "expected_average_only_in":
                scaler.estimate_scaling_factor(D_IN, itertools.repeat(x), 1)
            if norm == "covariance_whitening":
                scaler.estimate_whitening(D_IN, iter([rows(seed + s) for s in range(8)]), 8, eps=0.1)
            scaler.save(str(folder / "activation_scaler.json"))
            folded = copy.deepcopy(sae)
            if scaler.scaling_factor is not None:
                folded.fold_activation_norm_scaling_factor(scaler.scaling_factor)
            if scaler.whitening is not None:
                folded.fold_activation_whitening(scaler.whitening.mean, scaler.whitening.matrix, scaler.whitening.inverse_matrix)
            inference = root / "saelens inference" / name
            folded.save_inference_model(inference)
            loaded = SAE.load_from_disk(inference)
            with torch.no_grad():
                acts, recons = loaded.encode(x), loaded(x)
            # The checkpoint's own activations, where the inference form scales them otherwise.
            own = acts
            if architecture not in ("batchtopk", "matryoshka_batchtopk"):
                with torch.no_grad():
                    own = sae.encode(scaler.scale(x))
                # These folds fold the scale, or the decoder norms, into the activations too.
                if (norm == "covariance_whitening" and rescale) or (norm == "expected_average_only_in" and (rescale or architecture == "matching_pursuit")):
                    own = acts
            yield Case(name, folder, x, own, recons, writes="saelens")
            yield Case(name.replace("training", "inference"), inference, x, acts, recons)
    # Before 6.48 the threshold was stored as its logarithm.
    cls, cfg_cls = get_sae_training_class("jumprelu")
    sae = randomise(cls(cfg_cls(d_in=D_IN, d_sae=D_SAE, metadata=SAEMetadata(**META))), 77)
    folder = root / "saelens training" / "log_threshold"
    sae.save_model(folder)
    state = sae.state_dict()
    state["log_threshold"] = state.pop("threshold").log()
    save_file(state, folder / "sae_weights.safetensors")
    x = rows(77)
    with torch.no_grad():
        acts = sae.encode(x)
        yield Case("training jumprelu log_threshold", folder, x, acts, sae.decode(acts))
    # The factor may only be known elsewhere.
    cls, cfg_cls = get_sae_training_class("standard")
    sae = randomise(cls(cfg_cls(d_in=D_IN, d_sae=D_SAE, normalize_activations="expected_average_only_in", metadata=SAEMetadata(**META))), 78)
    folder = root / "saelens training" / "factor given"
    sae.save_model(folder)
    with torch.no_grad():
        acts = sae.encode(x * 0.37)
        yield Case("training standard factor given", folder, x, acts, sae.decode(acts) / 0.37, options=["--scaling-factor", "0.37"])


# --- the others ---


def sparsify(root):
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
    from sparsify import SparseCoder, SparseCoderConfig

    count = itertools.count(2000)
    for activation, transcode, skip, dtype in itertools.product(["topk", "groupmax"], [False, True], [False, True], ["float32", "bfloat16", "float16"]):
        seed = next(count)
        k = 8 if activation == "groupmax" else K
        sized = {"num_latents": 0, "expansion_factor": 4} if seed % 3 == 0 else {"num_latents": D_SAE}
        coder = randomise(SparseCoder(D_IN, SparseCoderConfig(activation=activation, k=k, transcode=transcode, skip_connection=skip, multi_topk=seed % 2 == 0, normalize_decoder=False, **sized)), seed).to(DTYPES[dtype])
        name = f"sparsify {activation}{' transcode' if transcode else ''}{' skip' if skip else ''} {dtype}"
        folder = root / name / ("layers.1.mlp" if transcode and seed % 2 else "layers.1")
        coder.save_to_disk(folder)
        (folder.parent / "config.json").write_text(json.dumps({"model": "demo", "dataset": "text", "ctx_len": 128, "sae": coder.cfg.to_dict()}))
        x = rows(seed)
        wide = copy.deepcopy(coder).float()
        with torch.no_grad():
            top_acts, top_indices, _ = wide.encode(x)
            recons = wide.decode(top_acts, top_indices)
            if skip:
                recons = recons + x @ wide.W_skip.mT
            acts = torch.zeros(ROWS, coder.num_latents).scatter(-1, top_indices, top_acts)
        plain = activation == "topk" and not transcode and not skip
        yield Case(name, folder, x, acts, recons, writes="saelens" if plain else "sparsify", dtype=dtype)
        if plain:
            yield Case(f"{name} again", folder, x, acts, recons, writes="sparsify", dtype=dtype)


def dictionary_learning(root):
    # What only its collecting of activations needs may be absent.
    for name in ["nnsight", "wandb", "datasets", "zstandard", "umap", "plotly", "plotly.express", "circuitsvis"]:
        if importlib.util.find_spec(name.split(".")[0]) is None:
            sys.modules[name] = unittest.mock.MagicMock()
    from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    makers = {
        "AutoEncoder": lambda: AutoEncoder(D_IN, D_SAE),
        "AutoEncoderNew": lambda: AutoEncoderNew(D_IN, D_SAE),
        "GatedAutoEncoder": lambda: GatedAutoEncoder(D_IN, D_SAE),
        "JumpReluAutoEncoder": lambda: JumpReluAutoEncoder(D_IN, D_SAE),
        "AutoEncoderTopK": lambda: AutoEncoderTopK(D_IN, D_SAE, K),
        "BatchTopKSAE": lambda: BatchTopKSAE(D_IN, D_SAE, K),
        "MatryoshkaBatchTopKSAE": lambda: MatryoshkaBatchTopKSAE(D_IN, D_SAE, K, [D_SAE // 4, D_SAE // 4, D_SAE // 2]),
    }
    for seed, (dict_class, make) in enumerate(makers.items(), 3000):
        for form in ["ae.pt", "checkpoints/ae_7.pt", "bfloat16", "no config", "scaled"]:
            ae = randomise(make(), seed)
            if form == "scaled" and not hasattr(ae, "scale_biases"):
                continue
            with torch.no_grad():
                if hasattr(ae, "threshold") and ae.threshold.ndim == 0:
                    ae.threshold.fill_(0.4)
                if form == "scaled":
                    ae.scale_biases(2.5)
            if form == "bfloat16":
                ae = ae.to(torch.bfloat16)
            folder = root / "dictionary_learning" / f"{dict_class} {form.replace('/', ' ')}" / "trainer_0"
            file = folder / ("checkpoints/ae_7.pt" if form.startswith("checkpoints") else "ae.pt")
            file.parent.mkdir(parents=True)
            torch.save({k: v.cpu() for k, v in ae.state_dict().items()}, file)
            options = []
            if form == "no config":
                options = ["--dict-class", dict_class] if dict_class == "BatchTopKSAE" else []
            else:
                (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": dict_class, "activation_dim": D_IN, "dict_size": D_SAE, "k": K, "layer": 1, "lm_name": "demo", "submodule_name": "resid_post_layer_1"}, "buffer": {"d_submodule": D_IN}}))
            x = rows(seed)
            wide = ae.float()
            if dict_class == "AutoEncoder":
                wide.normalize_decoder()
            with torch.no_grad():
                acts = wide.encode(x)
                yield Case(f"{dict_class} {form}", file if form.startswith("checkpoints") else folder, x, acts, wide.decode(acts), options=options, dtype="bfloat16" if form == "bfloat16" else "float32")


def original(root):
    from mistral_sae.sae import SparseAutoencoder

    sae = randomise(SparseAutoencoder(D_IN, D_SAE, k=K), 4000)
    folder = root / "original"
    folder.mkdir()
    torch.save(sae.state_dict(), folder / "sae.pt")
    x = rows(4000)
    with torch.no_grad():
        yield Case("original state dict", folder / "sae.pt", x, sae.get_acts(x), sae.forward_val(x, []), options=["--k", str(K)])


def openai(root, model_file):
    if model_file is None:
        return
    spec = importlib.util.spec_from_file_location("openai_sae_model", model_file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    makers = {
        "TopK": lambda: module.Autoencoder(D_SAE, D_IN, activation=module.TopK(K), normalize=True),
        "ReLU": lambda: module.Autoencoder(D_SAE, D_IN),
        "ReLU tied": lambda: module.Autoencoder(D_SAE, D_IN, tied=True),
        "TopK tied": lambda: module.Autoencoder(D_SAE, D_IN, activation=module.TopK(K), normalize=True, tied=True),
    }
    for seed, (name, make) in enumerate(makers.items(), 5000):
        sae = randomise(make(), seed)
        folder = root / "openai" / name
        folder.mkdir(parents=True)
        torch.save(sae.state_dict(), folder / f"{seed}.pt")
        x = rows(seed)
        with torch.no_grad():
            acts, info = sae.encode(x)
            yield Case(f"openai {name}", folder / f"{seed}.pt", x, acts, sae.decode(acts, info))


def all_cases(root, openai_model=None):
    yield from saelens(root)
    yield from saelens_legacy(root)
    yield from saelens_training(root)
    yield from sparsify(root)
    yield from dictionary_learning(root)
    yield from original(root)
    yield from openai(root, openai_model)
