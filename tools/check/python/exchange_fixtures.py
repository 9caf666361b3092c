"""Makes the small folders of other programs that the feature index' tests import, with those programs' own code.

    python exchange_fixtures.py FOLDER

SAEDashboard's batches are written by its own classes and encoder, Delphi's cache by its own `save_splits`, Neuronpedia's by the columns
of its tables (schema.prisma). Needs sae-dashboard, eai-delphi and torch on the path. The same every time.
"""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import torch
from delphi.latents.cache import InMemoryCache, LatentCache
from sae_dashboard.neuronpedia.neuronpedia_converter import FeatureProcessor, NpEncoder
from sae_dashboard.neuronpedia.neuronpedia_dashboard import (
    NeuronpediaDashboardActivation,
    NeuronpediaDashboardBatch,
    NeuronpediaDashboardFeature,
)

WIDTH = 96
random = np.random.default_rng(7)


def tokens(n: int) -> list[str]:
    """Words of the toy vocabulary, and some that no token of it is written as."""
    words = [f" w{i}" for i in random.integers(5, 300, n)]
    words[0] = "<1>"
    words[n // 2] = "\N{REPLACEMENT CHARACTER}"
    return words


def values(n: int, decimals: int | None) -> list[float]:
    dense = random.gamma(2.0, 2.0, n) * (random.random(n) < 0.3)
    dense[n // 3] = 3.0 + random.random()
    return [float(value) for value in (np.round(dense, decimals) if decimals is not None else dense.astype(np.float32))]


def histogram(n: int) -> tuple[list[int], list[float]]:
    edges = np.linspace(0, 8, n + 1)
    return [int(count) for count in random.integers(0, 900, n)], [float(value) for value in np.round((edges[1:] + edges[:-1]) / 2, 3)]


def saedashboard(folder: Path) -> None:
    folder.mkdir(parents=True)
    for batch, start in enumerate((0, 3)):
        features = []
        for index in range(start, start + 3):
            feature = NeuronpediaDashboardFeature()
            feature.feature_index = index * 7
            heights, middles = histogram(50)
            feature.freq_hist_data_bar_heights, feature.freq_hist_data_bar_values = heights, middles
            heights, middles = histogram(50)
            feature.logits_hist_data_bar_heights, feature.logits_hist_data_bar_values = heights, middles
            feature.pos_str, feature.pos_values = tokens(10), FeatureProcessor.round_list(sorted(random.random(10) * 3, reverse=True))
            feature.neg_str, feature.neg_values = tokens(10), FeatureProcessor.round_list(sorted(-random.random(10) * 3))
            feature.frac_nonzero = round(float(random.random()) / 100, 6)
            feature.correlated_features_indices, feature.correlated_features_pearson, feature.correlated_features_l1 = [1, 2], [0.5, 0.25], [0.125, 0.1]
            feature.n_prompts_total, feature.n_tokens_in_prompt, feature.dataset = 24_576, 128, "monology/pile-uncopyrighted"
            feature.vector = FeatureProcessor.round_list(list(random.normal(size=12))) if index % 2 else []
            groups = [(-1.0, None, -1.0), (4.0, 6.0, 0.025), (2.0, 4.0, 0.31), (0.0, 2.0, 0.665)]
            for low, high, share in groups:
                for _ in range(3):
                    n = int(random.integers(8, 40))
                    dense = values(n, 3)
                    activation = NeuronpediaDashboardActivation(low, max(dense) if high is None else high, share, tokens(n), dense, int(np.argmax(dense)))
                    if index == 4:
                        activation.dfa_values, activation.dfa_maxValue, activation.dfa_targetIndex = values(n, 3), 1.5, 2
                    feature.activations.append(activation)
            features.append(feature)
        made = NeuronpediaDashboardBatch("toy", 0, "small", None)
        made.features = features
        (folder / f"batch-{batch}.json").write_text(json.dumps(made, cls=NpEncoder))
    (folder / "run_settings.json").write_text(json.dumps({"sae_set": "small", "n_prompts_total": 24_576, "n_tokens_in_prompt": 128, "sparsity_threshold": -6}, indent=4))
    (folder / "skipped_indexes.json").write_text(json.dumps({"model_id": "toy", "layer": "0", "sae_set": "small", "log_sparsity": -6, "skipped_indexes": [1, 2, 3]}))


def neuronpedia(folder: Path) -> None:
    key = {"modelId": "toy", "layer": "0-res-toy"}
    made = {"creatorId": "clxyz0000000000000000000a", "createdAt": "2026-08-01T10:00:00.000Z"}
    identity = iter(range(10**6))
    for batch, start in enumerate((0, 4)):
        rows: dict[str, list[dict]] = {"features": [], "activations": [], "explanations": []}
        for index in range(start, start + 4):
            number = index * 5 if batch else str(index * 5)
            heights, middles = histogram(40)
            logit_heights, logit_middles = histogram(40)
            rows["features"].append({
                **key, "index": number, "sourceSetName": None, **made, "maxActApprox": float(np.float32(3 + random.random())), "hasVector": index == 2,
                "vector": [float(value) for value in random.normal(size=12)] if index == 2 else [], "vectorLabel": None, "hookName": "blocks.0.hook_resid_post", "vectorDefaultSteerStrength": 10,
                "topkCosSimIndices": [index, 50, 51], "topkCosSimValues": [1.0, 0.25, 0.125], "neuron_alignment_indices": [3], "neuron_alignment_values": [0.1], "neuron_alignment_l1": [0.01],
                "correlated_neurons_indices": [], "correlated_neurons_pearson": [], "correlated_neurons_l1": [], "correlated_features_indices": [], "correlated_features_pearson": [], "correlated_features_l1": [],
                "neg_str": tokens(10), "neg_values": [float(value) for value in -random.random(10)], "pos_str": tokens(10), "pos_values": [float(value) for value in random.random(10)],
                "frac_nonzero": -1 if index == 3 else float(random.random()) / 100, "freq_hist_data_bar_heights": heights, "freq_hist_data_bar_values": middles,
                "logits_hist_data_bar_heights": logit_heights, "logits_hist_data_bar_values": logit_middles, "decoder_weights_dist": [0.5, 0.25],
            })
            for group in range(4):
                n = int(random.integers(8, 40))
                # Rounded as the converter has them, whole f32 as the database has them, and doubles that no f32 is.
                dense = values(n, 3) if group < 2 else values(n, None) if group == 2 else [value * 1.1 for value in values(n, None)]
                top = int(np.argmax(dense))
                rows["activations"].append({
                    "id": f"cl{next(identity):023d}", **key, "index": number, "tokens": tokens(n), "values": dense, "maxValue": max(dense), "maxValueTokenIndex": top, "minValue": min(dense),
                    "binMin": (-1, 2.5, 0, None)[group], "binMax": (max(dense), 5.5, 2.5, None)[group], "binContains": (-1, 0.125, 0.5, None)[group], "qualifyingTokenIndex": None if group == 3 else top,
                    **made, "dataSource": "monology/pile-uncopyrighted", "dataIndex": str(group), "dfaValues": [], "dfaTargetIndex": None, "dfaMaxValue": None, "lossValues": [], "logitContributions": None,
                    "zIndices": None, "zValues": None,
                })
            if index % 2:
                rows["explanations"].append({
                    "id": f"ce{next(identity):023d}", **key, "index": number, "description": f"words of kind {index}, \N{LEFT DOUBLE QUOTATION MARK}quoted\N{RIGHT DOUBLE QUOTATION MARK}", "authorId": "clauthor00000000000000000",
                    "embedding": None, "triggeredById": None, "typeName": "oai_token-act-pair", "explanationModelName": "gpt-4o-mini", "notes": None, "createdAt": made["createdAt"],
                })
        for kind, lines in rows.items():
            path = folder / key["modelId"] / key["layer"] / kind / f"batch-{batch}.jsonl.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode(), compresslevel=5, mtime=0))
    creator = {"creatorId": made["creatorId"], "creatorName": "toy"}
    for name, row in {
        "release": {"name": "toy-release", "description": "a toy", "descriptionShort": None, **creator, "urls": [], "visibility": "PUBLIC", "featured": False, "isNewUi": False, "createdAt": made["createdAt"]},
        "model": {"id": "toy", "displayName": "Toy", "displayNameShort": "toy", "creatorId": made["creatorId"], "layers": 1, "neuronsPerLayer": 0, "owner": "toy", "visibility": "PUBLIC"},
        "sourceset": {"modelId": "toy", "name": "res-toy", "description": "a toy", **creator, "type": "", "urls": [], "releaseName": "toy-release", "visibility": "PUBLIC"},
        "source": {"id": key["layer"], "modelId": "toy", "setName": "res-toy", "creatorId": made["creatorId"], "hasDashboards": True, "num_prompts": 24_576, "num_tokens_in_prompt": 128, "dataset": "monology/pile-uncopyrighted", "visibility": "PUBLIC"},
    }.items():
        (folder / key["modelId"] / key["layer"] / f"{name}.jsonl").write_text(json.dumps(row) + "\n")


def delphi(folder: Path) -> None:
    module, context, windows = "layers.0", 16, 24
    latents = torch.from_numpy(random.gamma(2.0, 2.0, (windows, context, WIDTH)) * (random.random((windows, context, WIDTH)) < 0.06)).float()
    stored = InMemoryCache(batch_size=8)
    words = torch.from_numpy(random.integers(5, 300, (windows, context)))
    words[:, 0] = 1
    for batch in range(windows // 8):
        part = slice(batch * 8, batch * 8 + 8)
        stored.add(latents[part], words[part], batch, module)
    stored.save()
    cache = object.__new__(LatentCache)
    cache.cache, cache.width = stored, WIDTH
    cache.save_splits(5, folder)
    config = {"dataset_repo": "toy/corpus", "dataset_split": "train[:1%]", "dataset_name": "", "dataset_column": "text", "batch_size": 8, "cache_ctx_len": context, "n_tokens": windows * context, "n_splits": 5, "model_name": "toy"}
    (folder / module / "config.json").write_text(json.dumps(config, indent=4))


def main() -> None:
    folder = Path(sys.argv[1])
    saedashboard(folder / "saedashboard")
    neuronpedia(folder / "neuronpedia")
    delphi(folder / "delphi")


if __name__ == "__main__":
    main()
