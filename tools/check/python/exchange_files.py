"""Opens what `mistral-sae index export` wrote with the programs that it is written for, and holds them against each other.

    python exchange_files.py [--parquet FOLDER] [--delphi FOLDER] [--delphi-again FOLDER] [--saedashboard FOLDER] [--neuronpedia FOLDER]

Parquet is read by DuckDB and a Delphi cache by Delphi's loader, which must find the same activations; a second cache, exported from the
import of the first, must hold what the first holds. SAEDashboard's batches are read by its own classes, whose dictionaries must be the
files. Rows of a Neuronpedia folder must fit the columns of its tables (schema.prisma): their types, and NULL only where they allow it.
Needs duckdb, eai-delphi and sae-dashboard on the path, each where its folder is given. Ends with 1 on a difference.
"""

import argparse
import gzip
import json
import sys
from pathlib import Path

TEXT, NUMBER, WHOLE, FLAG = str, (int, float), int, bool
# Columns of the tables that an import fills: type, a "?" where NULL is allowed, "[]" for arrays.
KEY = "modelId:text layer:text index:text"
COLUMNS = {
    "features": f"{KEY} sourceSetName:text? creatorId:text? createdAt:text maxActApprox:number? hasVector:flag vector:number[] vectorLabel:text? "
    "vectorDefaultSteerStrength:number? hookName:text? topkCosSimIndices:whole[] topkCosSimValues:number[] neuron_alignment_indices:whole[] "
    "neuron_alignment_values:number[] neuron_alignment_l1:number[] correlated_neurons_indices:whole[] correlated_neurons_pearson:number[] "
    "correlated_neurons_l1:number[] correlated_features_indices:whole[] correlated_features_pearson:number[] correlated_features_l1:number[] "
    "neg_str:text[] neg_values:number[] pos_str:text[] pos_values:number[] frac_nonzero:number freq_hist_data_bar_heights:number[] "
    "freq_hist_data_bar_values:number[] logits_hist_data_bar_heights:number[] logits_hist_data_bar_values:number[] decoder_weights_dist:number[]",
    "activations": f"id:text {KEY} tokens:text[] values:number[] maxValue:number maxValueTokenIndex:whole minValue:number binMin:number? binMax:number? "
    "binContains:number? qualifyingTokenIndex:whole? creatorId:text? createdAt:text dataSource:text? dataIndex:text? dfaValues:number[] "
    "dfaTargetIndex:whole? dfaMaxValue:number? lossValues:number[] logitContributions:text? zIndices:whole[]? zValues:number[]?",
    "explanations": f"id:text {KEY} description:text authorId:text embedding:number[]? triggeredById:text? typeName:text? explanationModelName:text? notes:text? createdAt:text",
    "source": "id:text modelId:text setName:text creatorId:text hasDashboards:flag inferenceEnabled:flag saelensRelease:text? saelensSaeId:text? hfRepoId:text? "
    "hfFolderId:text? dataset:text? notes:text? num_prompts:whole? num_tokens_in_prompt:whole? visibility:text hasUmap:flag hasUmapLogSparsity:flag hasUmapClusters:flag",
    "sourceset": "modelId:text name:text description:text type:text creatorName:text creatorId:text urls:text[] releaseName:text? visibility:text hasDashboards:flag "
    "allowInferenceSearch:flag defaultRange:whole defaultShowBreaks:flag showDfa:flag showCorrelated:flag showHeadAttribution:flag showUmap:flag",
    "model": "id:text displayName:text displayNameShort:text creatorId:text layers:whole neuronsPerLayer:whole owner:text instruct:flag thinking:flag inferenceEnabled:flag visibility:text",
    "release": "name:text description:text creatorName:text creatorId:text urls:text[] visibility:text featured:flag isNewUi:flag",
}
TYPES = {"text": TEXT, "number": NUMBER, "whole": WHOLE, "flag": FLAG}


def fits(value: object, kind: str) -> bool:
    optional, kind = kind.endswith("?"), kind.removesuffix("?")
    if value is None:
        return optional
    if kind.endswith("[]"):
        return isinstance(value, list) and all(fits(item, kind.removesuffix("[]")) for item in value)
    return isinstance(value, TYPES[kind]) and (kind == "flag" or not isinstance(value, bool))


def neuronpedia(folder: Path) -> bool:
    rows, wrong = 0, []
    seen: set[tuple] = set()
    for table, columns in COLUMNS.items():
        wanted = dict(column.split(":") for column in columns.split())
        found = [*folder.glob(f"*/*/{table}/batch-*.jsonl.gz"), *folder.glob(f"*/*/{table}.jsonl")]
        for path in found:
            text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            lines = [json.loads(line) for line in text.decode().splitlines()]
            if len(lines) > 65_000 or len(text) > 200_000_000:
                wrong.append(f"{path}: more than the importer takes at a time")
            for number, row in enumerate(lines, 1):
                rows += 1
                # The importer takes the columns from the first line's keys.
                if row.keys() != lines[0].keys():
                    wrong.append(f"{path}:{number}: other keys than on the first line")
                wrong += [f"{path}:{number}: {name} is {row.get(name)!r}, wanted {kind}" for name, kind in wanted.items() if name not in row or not fits(row[name], kind)]
                identity = (table, row.get("id"), row.get("index"))
                if table in ("features", "activations", "explanations") and identity in seen:
                    wrong.append(f"{path}:{number}: {identity} a second time")
                seen.add(identity)
                if "tokens" in row and len(row["tokens"]) != len(row["values"]):
                    wrong.append(f"{path}:{number}: {len(row['tokens'])} tokens and {len(row['values'])} values")
    print(f"Neuronpedia: {rows} rows, {len(wrong)} that do not fit its tables", *wrong[:20], sep="\n  ")
    return rows > 0 and not wrong


def saedashboard(folder: Path) -> bool:
    from sae_dashboard.neuronpedia.neuronpedia_dashboard import NeuronpediaDashboardBatch

    features, same = 0, True
    for path in sorted(folder.glob("batch-*.json")):
        text = json.loads(path.read_text())
        batch = NeuronpediaDashboardBatch(**text)
        features += len(batch.features)
        same &= batch.to_dict() == text
    print(f"SAEDashboard: its own classes read {features} features; the same as the files: {same}")
    return features > 0 and same


def cache(folder: Path) -> tuple:
    import torch
    from delphi.latents.loader import TensorBuffer

    found, values, tokens = [], [], None
    files = sorted(folder.glob("*/*.safetensors"), key=lambda path: int(path.stem.split("_")[0]))
    for path in files:
        buffer = TensorBuffer(str(path), path.parent.name)
        latents, locations, activations = buffer.load_data_per_latent()
        assert len(latents) == len(locations) == len(activations)
        found.extend(locations)
        values.extend(activations)
        tokens = buffer.load_tokens()
        assert tokens is not None and tokens.shape[0] > int(max(part[:, 0].max() for part in locations))
    return torch.cat(found).numpy(), torch.cat(values).to(torch.float32).numpy(), tokens, len(files)


def parquet(folder: Path, delphi: Path) -> bool:
    import duckdb
    import numpy as np

    rows = duckdb.sql(
        f"select feature_index, sequence_id, token_index, activation from '{folder}/activations-*.parquet' "
        "order by feature_index, sequence_id, token_index"
    ).fetchnumpy()
    wanted = np.stack([rows[name].astype(np.int64) for name in ("sequence_id", "token_index", "feature_index")], axis=1)
    features = duckdb.sql(f"select feature_index, n_firings, dead from '{folder}/features.parquet' order by 1").fetchnumpy()
    places, strengths, _, files = cache(delphi)
    same_places = bool((places == wanted).all())
    largest = float(np.abs(strengths - rows["activation"].astype(np.float16).astype(np.float32)).max())
    print(f"DuckDB: {len(wanted)} activations of {int((features['dead'] == False).sum())} features; Delphi's loader: {len(places)} in {files} files")  # noqa: E712
    print(f"the same places: {same_places}; largest difference of F16 values: {largest}")
    return same_places and largest == 0.0 and len(places) == len(wanted)


def again(first: Path, second: Path) -> bool:
    import numpy as np

    def ordered(folder: Path) -> tuple:
        places, values, tokens, _ = cache(folder)
        order = np.lexsort((places[:, 1], places[:, 0], places[:, 2]))
        return places[order], values[order], np.asarray(tokens).astype(np.int64)

    same = all(bool(np.array_equal(a, b)) for a, b in zip(ordered(first), ordered(second), strict=True))
    print(f"Delphi's loader finds the same in the cache that was imported and exported again: {same}")
    return same


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("parquet", "delphi", "delphi-again", "saedashboard", "neuronpedia"):
        parser.add_argument(f"--{name}", type=Path)
    given = parser.parse_args()
    checks = []
    if given.parquet and given.delphi:
        checks.append(parquet(given.parquet, given.delphi))
    if given.delphi and given.delphi_again:
        checks.append(again(given.delphi, given.delphi_again))
    if given.saedashboard:
        checks.append(saedashboard(given.saedashboard))
    if given.neuronpedia:
        checks.append(neuronpedia(given.neuronpedia))
    return 0 if checks and all(checks) else 1


if __name__ == "__main__":
    sys.exit(main())
