"""Answers questions about features from what `mistral-sae index export` wrote: DuckDB over Parquet, and Delphi's own loader.

    python serve.py PARQUET_FOLDER DELPHI_FOLDER THREADS

Says which peers there are, then answers each line {"peer", "query", "feature"} with {"wall_ms", "answer"}.
"""

import json
import sys
import time
from pathlib import Path

STRATA, PICKS, TOP, BINS, BEFORE, AFTER = 5, 5, 20, 40, 32, 32


class DuckDb:
    """The windows lie in memory, activations and features in Parquet, sorted by feature."""

    def __init__(self, folder: Path, threads: int):
        import duckdb

        self.version = f"duckdb {duckdb.__version__}"
        self.db = duckdb.connect()
        self.db.execute(f"set threads = {threads}")
        self.db.execute("set enable_object_cache = true") if duckdb.__version__ < "1.2" else None
        self.db.execute(f"create view activations as select * from '{folder}/activations-*.parquet'")
        self.db.execute(f"create view features as select * from '{folder}/features.parquet'")
        self.db.execute(f"create table sequences as select sequence_id, doc_id, source, token_start, token_ids from '{folder}/sequences.parquet'")

    FIRINGS = "select sequence_id, token_index, activation from activations where feature_index = $feature and not is_special"

    def statistics(self, feature: int):
        n, most, _ = self.db.execute(f"select count(*), max(activation), avg(activation) from ({self.FIRINGS})", {"feature": feature}).fetchone()
        bins = self.db.execute(
            f"select least({BINS - 1}, floor(activation::double / $most * {BINS}))::int as bin, count(*) from ({self.FIRINGS}) group by bin",
            {"feature": feature, "most": most},
        ).fetchall()
        counts = [0] * BINS
        for bin, count in bins:
            counts[bin] = count
        return {"n": n, "max": most, "counts": counts}

    def examples(self, sql: str, feature: int):
        rows = self.db.execute(
            f"""with firings as materialized ({self.FIRINGS}), chosen as ({sql}),
                together as (select sequence_id, list(token_index order by token_index) as pos, list(activation order by token_index) as acts
                             from firings where sequence_id in (select sequence_id from chosen) group by sequence_id)
                select chosen.sequence_id, chosen.token_index, chosen.activation, doc_id, source, token_start,
                       list_slice(token_ids, greatest(1, chosen.token_index::int - {BEFORE} + 1), chosen.token_index::int + {AFTER} + 1), pos, acts
                from chosen join sequences using (sequence_id) join together using (sequence_id) order by chosen.place""",
            {"feature": feature},
        ).fetchall()
        return [[row[0], row[2]] for row in rows]

    def top(self, feature: int):
        return self.examples(
            f"""select *, row_number() over (order by activation desc, sequence_id, token_index) as place from (
                  select firings.*, row_number() over (partition by doc_id order by activation desc, sequence_id, token_index) as in_document
                  from firings join sequences using (sequence_id)) where in_document = 1 qualify place <= {TOP}""",
            feature,
        )

    def stratified(self, feature: int):
        return self.examples(
            f"""select sequence_id, token_index, activation, place from (
                  select *, row_number() over (order by activation desc, sequence_id, token_index) - 1 as place, count(*) over () as n from firings)
                where place in (select (s * n // {STRATA}) + floor((i + 0.5) * ((s + 1) * n // {STRATA} - s * n // {STRATA}) / {PICKS})::bigint
                                from range({STRATA}) as strata(s), range({PICKS}) as picks(i))""",
            feature,
        )

    def page(self, feature: int):
        self.db.execute("select * from features where feature_index = $feature", {"feature": feature}).fetchone()
        return {"statistics": self.statistics(feature), "top": self.top(feature), "stratified": len(self.stratified(feature))}


class Delphi:
    """The examples that Delphi's LatentDataset makes of one latent."""

    def __init__(self, folder: Path):
        from importlib.metadata import version

        import torch
        from delphi.config import ConstructorConfig, SamplerConfig
        from delphi.latents.loader import LatentDataset

        self.version = f"eai-delphi {version('eai-delphi')}"
        self.torch, self.dataset, self.folder = torch, LatentDataset, folder
        self.module = next(path.name for path in folder.iterdir() if path.is_dir())
        self.sampler = SamplerConfig(n_examples_train=25, n_examples_test=0, n_quantiles=STRATA, train_type="quantiles")
        self.constructor = ConstructorConfig(example_ctx_len=64, min_examples=1, n_non_activating=1)

    def batch_decode(self, tokens):
        return [str(int(token)) for token in tokens]

    def page(self, feature: int):
        latents = {self.module: self.torch.tensor([feature])}
        data = self.dataset(str(self.folder), self.sampler, self.constructor, tokenizer=self, modules=[self.module], latents=latents)
        return {"most": max(float(record.examples[0].activations.max()) for record in data)}


def main() -> None:
    parquet, delphi, threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    peers, missing = {}, {}
    for name, make in (("duckdb", lambda: DuckDb(parquet, threads)), ("delphi", lambda: Delphi(delphi))):
        try:
            peers[name] = make()
        except Exception as error:  # noqa: BLE001
            missing[name] = f"{type(error).__name__}: {error}"
    print(json.dumps({"version": {name: peer.version for name, peer in peers.items()}, "missing": missing}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.perf_counter()
        try:
            answer = getattr(peers[asked["peer"]], asked["query"])(asked["feature"])
            print(json.dumps({"wall_ms": (time.perf_counter() - began) * 1000, "answer": answer}), flush=True)
        except Exception as error:  # noqa: BLE001
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)


main()
