"""Jobs for the tests of `spec`: one that is right, to be bent."""

import copy
from typing import Any

TEXTS = [f"sentence number {i} of a small set" for i in range(200)]


def job(**changes: Any) -> dict[str, Any]:
    """A job file's tables, with `changes` put into them: job(traffic={"rate_per_s": 5}) or, to drop a key, None."""
    tables: dict[str, Any] = {
        "model": {"source": "huggingface", "path": "a-name/on-the-hub"},
        "data": {"source": "python", "factory": "tests_of_spec:columns", "input": "text"},
        "floor": {"metric": "cosine", "max_drop": 0.01},
        "traffic": {"scenario": "server", "rate_per_s": 20.0},
        "slo": {"latency_p99_s": 0.05},
        "prices": {"usd_per_hour": 0.085},
    }
    tables = copy.deepcopy(tables)
    for name, change in changes.items():
        if isinstance(change, dict) and isinstance(tables.get(name), dict):
            merged = tables[name] | change
            tables[name] = {key: value for key, value in merged.items() if value is not None}
        else:
            tables[name] = change
    return {name: table for name, table in tables.items() if table is not None}


def mapping(columns: dict[str, Any]) -> dict[str, Any]:
    """[data] of columns that a mapping holds."""
    return {"source": "python", "factory": "builtins:dict", "args": columns}
