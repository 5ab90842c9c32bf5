"""Every mistake in a job file is named with its key, its value, what was expected and the nearest spelling; all at once."""

import re
from pathlib import Path

import pytest

from farthing.errors import JobError
from farthing.spec.check import check

from . import job

WHOLE = {"mode": "whole_machines", "usd_per_hour": None, "sku": "c6i.large"}
OFFLINE = {"scenario": "offline", "rate_per_s": None, "num_items": 10}

MISTAKES = [
    # keys and types
    ({"flor": {}}, "job flor: unknown key; there are: name, .*Did you mean 'floor'"),
    ({"traffic": {"rate_per_sec": 1.0}}, r"\[traffic\] rate_per_sec: unknown key; .*Did you mean 'rate_per_s'"),
    ({"data": {"inptu": "text"}}, r"\[data\] inptu: unknown key; there are: factory, .*Did you mean 'input'"),
    ({"traffic": None}, r"\[traffic\] is missing"),
    ({"traffic": {"scenario": None}}, r"\[traffic\] scenario is missing: expected one of server, offline, single_stream"),
    ({"traffic": 5}, r"job traffic = 5: expected a table \[traffic\]"),
    ({"floor": []}, r"job floor = \[\]: expected a table \[floor\], or several \[\[floor\]\]"),
    ({"traffic": {"scenario": "sever"}}, r"scenario = 'sever': expected one of server, .* Did you mean 'server'"),
    ({"budget": {"minutes": "5"}}, r"\[budget\] minutes = '5': expected a number"),
    ({"data": {"pair": 1}}, r"\[data\] pair = 1: expected true or false"),
    ({"search": {"methods": "int8"}}, r"\[search\] methods = 'int8': expected a list of texts"),
    ({"seed": 1.5}, "job seed = 1.5: expected a whole number"),
    # members
    ({"model": {"source": "hugingface"}}, r"\[model\] source = 'hugingface': .*Did you mean 'huggingface'"),
    ({"data": {"source": None}}, r"\[data\] source is missing: expected one of .*csv"),
    ({"data": {"factory": None}}, r"\[data\] factory is missing: expected a text"),
    ({"data": {"source": "csv", "factory": None, "path": "no.csv"}}, r"\[data\] path = 'no.csv': .*no\.csv does not exist"),
    ({"data": {"verify": {"source": "csv", "path": "no.csv"}}}, r"\[data.verify\] path = 'no.csv': .*does not exist"),
    ({"data": {"verify": {"factori": "a:b"}}}, r"\[data.verify\] factori: unknown key; .*Did you mean 'factory'"),
    ({"search": {"runtimes": ["openvno"]}}, r"\[search\] runtimes = 'openvno': .*Did you mean 'openvino'"),
    ({"search": {"runtimes": []}}, r"runtimes = \[\]: expected at least one"),
    ({"data": {"source": 3}}, r"\[data\] source = 3: expected one of .*csv"),
    # the model's files, before a run is begun
    ({"model": {"path": "./gone"}}, r"\[model\] no folder at .*/gone: give one that save_pretrained wrote"),
    ({"model": {"path": "~/no/such"}}, r"\[model\] no folder at /.*/no/such"),
    ({"model": {"path": "a/b/c"}}, r"\[model\] no folder at .*a/b/c"),
    ({"model": {"path": "models/gone"}}, r"\[model\] no folder at .*/models/gone: .*Did you mean 'gene'"),
    ({"model": {"path": "models/gene"}}, r"\[model\] .*/models/gene holds no config.json"),
    ({"model": {"path": "two words"}}, r"\[model\] 'two words' is neither a folder that is there nor a name on the hub"),
    ({"model": {"source": "sklearn", "path": "m.pkl"}}, r"\[model\] .*m\.pkl is a pickle, .*trust = true"),
    (
        {"model": {"source": "sklearn", "path": "n.pkl"}},
        r"path = 'n.pkl': .*does not exist. Did you mean 'm.pkl'",
    ),
    ({"model": {"source": "onnx", "path": "models"}}, r"\[model\] .*/models is a folder: name the \.onnx file in it: m\.onnx"),
    ({"model": {"source": "python", "path": None, "factory": "mine:nett"}}, r"\[model\] 'mine:nett': .*Did you mean 'net'"),
    (
        {"model": {"source": "python", "path": None, "factory": "mien:net"}},
        r"no module 'mien' in .*put mien\.py there",
    ),
    # data
    ({"data": {"features": "x*"}}, r"\[data\] input or features: .*exactly one"),
    ({"data": {"input": None}}, r"\[data\] input or features"),
    ({"data": {"pair": True}}, r"\[data\] input = 'text': expected two text columns, because pair = true"),
    ({"data": {"classes": ["a"]}}, r"\[data\] classes has no effect without label"),
    ({"data": {"limit": 0}}, r"\[data\] limit = 0: expected a number > 0"),
    ({"data": {"split": "s", "splits": {"search": 1.0}}}, "split has no effect beside splits or verify"),
    ({"data": {"splits": {"serch": 1.0}}}, "splits.serch: unknown split; .*Did you mean 'search'"),
    ({"data": {"splits": {"search": -0.5, "verify": 1.5}}}, "splits.search = -0.5: expected a share from 0 to 1"),
    ({"data": {"splits": {"search": 0.5, "verify": 0.4}}}, "shares that sum to 1, these sum to 0.9"),
    ({"data": {"splits": {"verify": 1.0}, "verify": {"factory": "a:b"}}}, "splits.verify has no effect"),
    ({"data": {"label": "y"}}, r"\[data\] label = 'y' has no effect: no floor's metric reads labels"),
    # floors
    ({"floor": {"metric": "acuracy"}}, r"\[floor\] metric = 'acuracy': .*Did you mean 'accuracy'"),
    ({"floor": {"metric": "accuracy"}}, "accuracy: needs labels, and .* names no label column"),
    ({"floor": {"metric": "cosine@3"}}, r"\[floor\] metric = 'cosine@3'"),
    ({"floor": {"metric": "math:sinn"}}, r"metric = 'math:sinn': .*no function 'sinn'. Did you mean 'sin'"),
    ({"floor": {"max_drop": None}}, "give either max_drop or minimum"),
    ({"floor": {"minimum": 0.9}}, "give either max_drop or minimum"),
    ({"floor": {"max_drop": -0.1}}, "max_drop = -0.1: expected a number >= 0"),
    ({"floor": {"max_drop": float("nan")}}, "max_drop = nan: expected a number >= 0"),
    ({"floor": {"confidence": 0.5}}, "confidence = 0.5: expected a number between 0.5 and 1"),
    ({"floor": {"confidence": 95.0}}, "confidence = 95.0"),
    ({"floor": {"slice_max_drop": 0.1}}, "slice_max_drop has no effect without slices"),
    # traffic and SLO
    ({"traffic": {"rate_per_s": 0.0}}, r"\[traffic\] rate_per_s = 0.0: expected a number > 0"),
    ({"traffic": {"rate_per_s": -3.0}}, "rate_per_s = -3.0: expected a number > 0"),
    ({"traffic": {"rate_per_s": float("inf")}}, "rate_per_s = inf: expected a number > 0"),
    ({"traffic": {"rate_per_s": None}}, "scenario = 'server' needs rate_per_s, a trace"),
    ({"traffic": {"deadline_s": 5.0}}, "deadline_s has no effect with scenario = 'server'; .*choose scenario = 'offline'"),
    ({"traffic": {"trace": "gone.csv"}}, r"\[traffic\] trace = 'gone.csv': .*does not exist"),
    ({"traffic": OFFLINE | {"num_items": None}, "slo": None}, "scenario = 'offline' needs num_items"),
    ({"traffic": OFFLINE | {"rate_per_s": 2.0}, "slo": None}, "rate_per_s has no effect with scenario = 'offline'"),
    ({"traffic": OFFLINE}, r"\[slo\] has no effect with scenario = 'offline'"),
    ({"slo": {"latency_p99_s": 0.0}}, r"\[slo\] latency_p99_s = 0.0: expected a number > 0"),
    ({"slo": {"latency_p50_s": 0.1}}, "latency_p50_s = 0.1 has no effect, because latency_p99_s = 0.05 is stricter"),
    # prices and budget
    ({"prices": {"usd_per_hour": 0.0}}, r"\[prices\] usd_per_hour = 0.0: expected a number > 0"),
    ({"prices": {"usd_per_hour": -1.0}}, "usd_per_hour = -1.0: expected a number > 0"),
    ({"prices": {"usd_per_hour": None}}, "give usd_per_hour of this machine, or its sku"),
    ({"prices": {"source": "snapshot"}}, "source has no effect without a menu"),
    ({"prices": {"spot": True}}, "spot has no effect without a menu"),
    ({"prices": {"spare_machines": 1}}, "spare_machines has no effect without mode = 'whole_machines'"),
    ({"prices": {"headroom": 0.1}}, "headroom has no effect without mode = 'whole_machines'"),
    ({"prices": WHOLE | {"headroom": 1.0}}, "headroom = 1.0: expected a share from 0 to below 1"),
    ({"prices": WHOLE | {"spare_machines": -1}}, "spare_machines = -1: expected a whole number >= 0"),
    ({"prices": WHOLE | {"sku": "c6i.larg"}}, r"sku = 'c6i.larg': .*Did you mean 'c6i.large'"),
    ({"prices": WHOLE | {"menu": ["c6i.xlarg"]}}, r"menu = 'c6i.xlarg': .*Did you mean 'c6i.xlarge'"),
    ({"prices": WHOLE | {"source": "skypilot", "path": "gone.csv"}}, r"\[prices\] path = 'gone.csv': .*does not exist"),
    ({"budget": {"minutes": 0.0}}, r"\[budget\] minutes = 0.0: expected a number > 0"),
    ({"budget": {"max_rss_gib": -1.0}}, "max_rss_gib = -1.0: expected a number > 0"),
]


@pytest.mark.parametrize(("changes", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_mistake(changes: dict, message: str, tmp_path: Path) -> None:
    (tmp_path / "models" / "gene").mkdir(parents=True)
    (tmp_path / "models" / "m.onnx").write_bytes(b"")
    (tmp_path / "m.pkl").write_bytes(b"code")
    (tmp_path / "mine.py").write_text("raise SystemExit('it was run')\ndef net(): ...\n")
    with pytest.raises(JobError, match=message) as caught:
        check(job(**changes), tmp_path, "job.toml")
    told = str(caught.value)
    assert told.startswith("job.toml: ")
    assert not re.search(r"None|True|False|PosixPath|MemberRef|\('", told), "a Python value is told to a person"


def test_all_at_once(tmp_path: Path) -> None:
    bad = job(flor={}, traffic={"rate_per_s": -1.0}, prices={"usd_per_hour": "free"}, floor={"metric": "cosin"})
    with pytest.raises(JobError) as caught:
        check(bad, tmp_path, "job.toml")
    lines = str(caught.value).splitlines()
    assert lines[0] == "job.toml: 4 mistakes"
    for word in ("flor", "rate_per_s", "usd_per_hour", "cosin"):
        assert any(word in line for line in lines[1:]), word


def test_a_mistake_of_two_tables_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(JobError) as caught:
        check(job(data={"inptu": 1, "verify": {"factory": "a:b"}}), tmp_path, "job.toml")
    assert str(caught.value).startswith("job.toml: 1 mistake\n")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"traffic": OFFLINE | {"deadline_s": 60.0}, "slo": None},
        {"traffic": {"scenario": "single_stream", "rate_per_s": None}},
        {"prices": WHOLE | {"menu": ["c6i.xlarge"], "headroom": 0.1, "spare_machines": 1}},
        {"prices": {"mode": "whole_machines", "menu": ["c6i.xlarge"], "spot": True}},
        {"floor": [{"metric": "topk_overlap@5", "minimum": 0.9}, {"metric": "cosine", "max_drop": 0.0, "slices": "s"}]},
        {"floor": {"metric": "accuracy"}, "data": {"label": "y"}},
        {"budget": {"minutes": 5}},
        {"slo": {"latency_p50_s": 0.01, "latency_p95_s": 0.02, "latency_p99_s": 0.05}},
    ],
)
def test_what_is_right_passes(changes: dict, tmp_path: Path) -> None:
    check(job(**changes), tmp_path, "job.toml")


def test_paths_start_at_the_job(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in ("a.csv", "b.csv", "t.csv"):
        (tmp_path / "d" / name).write_text("x\n1\n2\n")
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.json").write_text("{}")
    (tmp_path / "encoder" / "model.safetensors").write_bytes(b"")
    draft = check(
        job(
            model={"path": "encoder"},
            data={"source": "csv", "factory": None, "path": ["d/a.csv", "d/b.csv"], "verify": {"path": "d/t.csv"}},
            traffic={"trace": "d/t.csv"},
        ),
        tmp_path,
        "my.toml",
    )
    assert draft.name == "my"
    assert dict(draft.model.knobs)["path"] == str(tmp_path / "encoder")
    assert draft.data_source is not None and draft.verify_source is not None
    assert dict(draft.data_source.knobs)["path"] == (tmp_path / "d" / "a.csv", tmp_path / "d" / "b.csv")
    assert dict(draft.verify_source.knobs)["path"] == tmp_path / "d" / "t.csv"
    assert draft.traffic.trace == tmp_path / "d" / "t.csv"


def test_a_trace_without_timestamps(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("when\nnoon\n")
    with pytest.raises(JobError, match=r"\[traffic\] trace: .*noon.*must hold timestamps"):
        check(job(traffic={"trace": "trace.csv"}), tmp_path, "job.toml")


def test_a_shipped_price_table_is_named_in_the_job(tmp_path: Path) -> None:
    draft = check(job(prices={"usd_per_hour": None, "sku": "c6i.large"}), tmp_path, "job.toml")
    assert str(draft.prices.source) == "snapshot"


def test_root_reaches_the_source(tmp_path: Path) -> None:
    draft = check(job(), tmp_path, "job.toml")
    assert draft.data_source is not None and dict(draft.data_source.knobs)["root"] == tmp_path
