"""Opens what `mistral-sae index export` wrote with the programs that it is written for, and holds them against each other.

    python exchange_files.py PARQUET_FOLDER DELPHI_FOLDER

Needs duckdb, safetensors and eai-delphi (its loader) on the path. Prints what was compared; ends with 1 on a difference.
"""

import sys
from pathlib import Path

import duckdb
import numpy as np
import torch
from delphi.latents.loader import TensorBuffer


def main() -> int:
    parquet, delphi = (Path(argument) for argument in sys.argv[1:3])
    rows = duckdb.sql(
        f"select feature_index, sequence_id, token_index, activation from '{parquet}/activations-*.parquet' "
        "order by feature_index, sequence_id, token_index"
    ).fetchnumpy()
    wanted = np.stack([rows[name].astype(np.int64) for name in ("sequence_id", "token_index", "feature_index")], axis=1)
    features = duckdb.sql(f"select feature_index, n_firings, dead from '{parquet}/features.parquet' order by 1").fetchnumpy()

    found, values = [], []
    files = sorted(delphi.glob("*/*.safetensors"), key=lambda path: int(path.stem.split("_")[0]))
    for path in files:
        buffer = TensorBuffer(str(path), path.parent.name)
        latents, locations, activations = buffer.load_data_per_latent()
        assert len(latents) == len(locations) == len(activations)
        found.extend(locations)
        values.extend(activations)
        tokens = buffer.load_tokens()
        assert tokens is not None and tokens.shape[0] > int(max(part[:, 0].max() for part in locations))
    places = torch.cat(found).numpy()
    strengths = torch.cat(values).to(torch.float32).numpy()

    same_places = bool((places == wanted).all())
    largest = float(np.abs(strengths - rows["activation"].astype(np.float16).astype(np.float32)).max())
    print(f"DuckDB: {len(wanted)} activations of {int((features['dead'] == False).sum())} features; Delphi's loader: {len(places)} in {len(files)} files")  # noqa: E712
    print(f"the same places: {same_places}; largest difference of F16 values: {largest}")
    return 0 if same_places and largest == 0.0 and len(places) == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
