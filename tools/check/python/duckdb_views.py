"""Asks DuckDB over a Parquet export what the service answered, by the same views.

    python duckdb_views.py PARQUET_FOLDER VIEWS_SQL QUERIES_JSON

VIEWS_SQL is services/feature-index/queries/duckdb/views.sql. QUERIES_JSON is a list of {"sql": …, "rows": [[…], …]}: statements
that both understand, and the rows that the service gave. Prints what was compared; ends with 1 on a difference.
"""

import json
import math
import os
import sys
from pathlib import Path

import duckdb


def same(left: object, right: object) -> bool:
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return math.isclose(float(left), float(right), rel_tol=1e-6, abs_tol=1e-9)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right))
    return left == right


def main() -> int:
    folder, views, queries = (Path(argument).resolve() for argument in sys.argv[1:4])
    os.chdir(folder)
    connection = duckdb.connect()
    connection.execute(views.read_text())
    failed = 0
    for query in json.loads(queries.read_text()):
        got = connection.execute(query["sql"]).fetchall()
        equal = same([list(row) for row in got], query["rows"])
        failed += not equal
        print(f"{'equal' if equal else 'DIFFERENT'}, {len(got)} rows: {query['sql']}")
        if not equal:
            print(f"  DuckDB {got[:3]}\n  service {query['rows'][:3]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
