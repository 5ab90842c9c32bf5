"""The command line: parse arguments; each command calls one verb. Nothing heavy is imported until a step needs it."""

import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from farthing.cli_render import artifact_folder, render
from farthing.errors import MORE_TIME, BuildTimeout, DataError, FarthingError, JobError, MissingExtra

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find the cheapest way to run the model you have, and prove that nothing was lost on the way.",
)

app.add_typer(render, name="render")

NOTHING_MEETS_THE_FLOOR = UPDATE_REFUSED = SLO_BROKEN = 3
NOT_SHOWN = 3
VOID = 4
INTERRUPTED, TERMINATED = 130, 143  # 128 and the number of the signal


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is how batch systems and containers interrupt."""


@app.command()
def optimize(
    job: Annotated[Path | None, typer.Argument(help="the job file; `farthing init` writes one")] = None,
    out: Annotated[Path | None, typer.Option(help="the run directory (default: runs/NAME)")] = None,
    minutes: Annotated[float | None, typer.Option(help="time for the search, instead of the job's budget.minutes")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run that is in --out")] = False,
    explain: Annotated[
        str | None, typer.Option(metavar="METHOD", help="only tell what a method does, and what the run found")
    ] = None,
) -> None:
    """Find, prove and pack the cheapest deployment. Exit code 3: nothing keeps the floor and the SLO."""
    if explain is not None:
        typer.echo(_explained(explain, out if job is None or out else Path("runs") / job.stem))
        return
    if job is None:
        raise JobError("no job file was given: name one, or let `farthing init` write it")
    from farthing import flow, spec
    from farthing.reporting.terminal import LiveView, table

    signal.signal(signal.SIGTERM, _terminate)
    folder = out or Path("runs") / job.stem
    try:
        asked = spec.read(job, minutes=minutes)
        folder = out or Path("runs") / asked.name
        with LiveView() as view:
            decision = flow.optimize(asked, out=folder, resume=resume, progress=view.event)
    except KeyboardInterrupt as interruption:
        typer.echo(_told(interruption, job, folder, minutes))
        raise typer.Exit(TERMINATED if isinstance(interruption, Terminated) else INTERRUPTED) from None
    except BuildTimeout as error:  # of the original: what a candidate does is a rejection
        raise BuildTimeout(f"the original {error}. {MORE_TIME}") from error
    (folder / "job.path").write_text(str(job.resolve()), encoding="utf-8")  # what `update` reads
    typer.echo(table(decision, folder))
    if decision.verdict == "nothing":
        raise typer.Exit(NOTHING_MEETS_THE_FLOOR)


@app.command()
def init(path: Annotated[Path, typer.Argument(help="where to write the job file")] = Path("job.toml")) -> None:
    """Ask a few questions and write a commented job file."""
    from farthing.spec.init import write_job

    try:
        write_job(path, ask=_ask, tell=typer.echo)
    except KeyboardInterrupt:
        typer.echo("\nInterrupted. Nothing was written.")
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(f"Wrote {path}. Next: {shlex.join(['farthing', 'optimize', str(path)])}")


@app.command()
def verify(
    artifact: Annotated[Path, typer.Argument(help="a folder that `optimize` saved")],
    trust: Annotated[bool, typer.Option("--trust", help="open a model that is a pickle")] = False,
) -> None:
    """Open an artifact in a clean process, check every digest, and measure quality and speed again."""
    from farthing.artifact import verify as verify_artifact

    verdict = verify_artifact(artifact_folder(artifact), trust=trust)
    for check in verdict.checks:
        word = {True: "PASS", False: "FAIL", None: "not judged"}[check.passed]
        typer.echo(f"{word:>10}  {check.name}: {check.detail}")
    raise typer.Exit(0 if verdict.passed else 1)


@app.command()
def predict(
    artifact: Annotated[Path, typer.Argument(help="a folder that `optimize` saved")],
    inputs: Annotated[Path, typer.Argument(help="JSON Lines: one request a line")],
    trust: Annotated[bool, typer.Option("--trust", help="open a model that is a pickle")] = False,
) -> None:
    """Answer the requests of a JSON Lines file; one JSON answer a line on standard output."""
    import json

    from farthing.artifact import predict as predict_artifact

    if inputs.is_dir() or not inputs.exists():
        wrong = "is a folder" if inputs.is_dir() else "does not exist"
        raise DataError(f"{inputs} {wrong}: give a file of JSON Lines, one request a line")
    answered = False
    for answer in predict_artifact(artifact_folder(artifact), inputs, trust=trust):
        typer.echo(json.dumps(answer.tolist()))
        answered = True
    if not answered:
        raise DataError(f"{inputs} holds no requests: write one a line, as JSON")


@app.command()
def calibrate(
    artifact: Annotated[Path, typer.Argument(help="a folder that `optimize` saved: a model of texts")],
    texts: Annotated[Path, typer.Option(help="JSON Lines: held-out traffic, in its order")],
    embedder: Annotated[Path, typer.Option(help="an artifact that gives one vector for a text")],
    budget: Annotated[float, typer.Option(help="wrong hits per request that may be, e.g. 0.02")],
    max_entries: Annotated[int, typer.Option(help="of the cache: the bound holds up to this size")] = 3_000,
    confidence: Annotated[float, typer.Option(help="of the bound")] = 0.95,
    metric: Annotated[str | None, typer.Option(help="by which two answers differ (default: the first floor's)")] = None,
    tolerance: Annotated[float, typer.Option(help="so far below its best is not different yet")] = 0.0,
    verify: Annotated[Path | None, typer.Option(help='JSON Lines {"text": ..., "label": ...}: certify cache and model')] = None,
    original: Annotated[
        Path | None, typer.Option(help="with --verify: what the floor counts from (default: the model)")
    ] = None,
    out: Annotated[Path, typer.Option(help="for `farthing serve --semantic`")] = Path("semantic.json"),
    trust: Annotated[bool, typer.Option("--trust", help="open a model that is a pickle")] = False,
) -> None:
    """How alike two texts must be to share an answer. Exit code 3: no threshold could be shown to keep the budget."""
    from farthing import calibration
    from farthing.artifact import load
    from farthing.calibration import record as records
    from farthing.calibration.threshold import Terms

    if original is not None and verify is None:
        raise JobError("--original: without effect, since nothing is certified; give --verify too")
    model, other = load(artifact_folder(artifact), trust=trust), load(artifact_folder(embedder), trust=trust)
    source = None if original is None else load(artifact_folder(original), trust=trust)
    asked = calibration.Asked(model=model, embedder=other, metric=metric, tolerance=tolerance, verify=verify, original=source)
    terms = Terms(budget=budget, max_entries=max_entries, alpha=1.0 - confidence)
    found, record = calibration.calibrated(asked, texts, terms)
    typer.echo(found.reason)
    if record is None:
        raise typer.Exit(NOT_SHOWN)
    for one in record.certificates:
        typer.echo(
            f"cache and model together against {one['against']}: {one['metric']} {one['verdict']}, falls by {one['drop']:.3g}, "
            f"at most {one['upper_bound']:.3g} of {one['max_drop']:.3g} allowed ({one['num_hits']} of {one['num_texts']} hit)"
        )
    records.write(record, out)
    typer.echo(f"written: {out}")


@app.command()
def gate(
    artifact: Annotated[Path, typer.Argument(help="a folder that `optimize` saved")],
    job: Annotated[Path, typer.Option(help="the job whose floors it must keep, as they are now")],
    trust: Annotated[bool, typer.Option("--trust", help="open a model that is a pickle")] = False,
) -> None:
    """For CI: exit code 0 or 1, and a short Markdown verdict."""
    from farthing import spec
    from farthing.artifact import gate as gate_artifact

    code, markdown = gate_artifact(artifact_folder(artifact), spec.read_floors(job), trust=trust)
    typer.echo(markdown)
    raise typer.Exit(code)


@app.command()
def serve(
    artifact: Annotated[Path, typer.Argument(help="a folder that `optimize` saved")],
    host: Annotated[str, typer.Option(help="the address to listen on; 0.0.0.0 for all")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="the port to listen on")] = 8000,
    http: Annotated[str, typer.Option(help="what speaks HTTP: uvicorn or granian")] = "uvicorn",
    replicas: Annotated[int | None, typer.Option(help="processes with the model (default: as planned)")] = None,
    inline: Annotated[
        bool,
        typer.Option("--inline", help="the model in this process: quicker where it takes microseconds, lost if it crashes"),
    ] = False,
    deadline_s: Annotated[float | None, typer.Option(help="of requests without X-Deadline-Ms (default: none)")] = None,
    drain_s: Annotated[float, typer.Option(help="at SIGTERM, so long for what is under way")] = 30.0,
    router: Annotated[str, typer.Option(help="which replica gets the next batch")] = "least_loaded",
    keys: Annotated[
        Path | None, typer.Option(help="a file of names and SHA-256 of API keys; without it everybody may ask")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate (PEM)")] = None,
    private_key: Annotated[Path | None, typer.Option(help="TLS private key (PEM)")] = None,
    max_rss_gib: Annotated[float | None, typer.Option(help="a replica that grows past it is drained and started anew")] = None,
    admin_port: Annotated[int | None, typer.Option(help="on 127.0.0.1, to bring other versions in (default: none)")] = None,
    admin_keys: Annotated[Path | None, typer.Option(help="who may: a file as --keys, of its own")] = None,
    state: Annotated[Path | None, typer.Option(help="a file by which a restart knows which version is served")] = None,
    cache: Annotated[str, typer.Option(help="where answers are kept for equal requests: none, memory, disk, redis")] = "none",
    cache_mib: Annotated[float | None, typer.Option(help="of kept answers (default: the cache's own)")] = None,
    cache_ttl_s: Annotated[float | None, typer.Option(help="so long an answer is given again (default: no limit)")] = None,
    cache_at: Annotated[str | None, typer.Option(help="disk: its file; redis: its URL")] = None,
    semantic: Annotated[Path | None, typer.Option(help="also answer like texts: what `farthing calibrate` wrote")] = None,
    embedder: Annotated[Path | None, typer.Option(help="the artifact that --semantic was calibrated with")] = None,
    engine: Annotated[
        str, typer.Option(help="local: this process and its replicas; ray: Ray Serve, scaled as planned")
    ] = "local",
    peak_per_s: Annotated[float | None, typer.Option(help="ray: requests per second at the peak (default: as planned)")] = None,
    cluster: Annotated[
        str | None, typer.Option(help="ray: address of a running cluster (default: one is started here)")
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="open a model that is a pickle")] = False,
) -> None:
    """Serve an artifact over HTTP; what it costs is told beside what was planned."""
    from farthing.serving import Caching, Options
    from farthing.serving import serve as serve_artifact

    options = Options(
        host=host,
        port=port,
        http=http,
        replicas=replicas,
        inline=inline,
        deadline_s=float("inf") if deadline_s is None else deadline_s,
        drain_s=drain_s,
        router=router,
        keys=keys,
        certificate=certificate,
        private_key=private_key,
        max_rss_gib=max_rss_gib,
        admin_port=admin_port,
        admin_keys=admin_keys,
        state=state,
        caching=Caching(kind=cache, mib=cache_mib, ttl_s=cache_ttl_s, at=cache_at, semantic=semantic, embedder=embedder),
        trust=trust,
    )
    if engine != "local":
        _by_engine(engine, artifact_folder(artifact), options, peak_per_s=peak_per_s, cluster=cluster)
        return
    if peak_per_s is not None or cluster is not None:
        raise JobError("--peak-per-s and --cluster: without effect on one machine; leave them out, or give --engine ray")
    serve_artifact(artifact_folder(artifact), options, tell=typer.echo)


def _by_engine(engine: str, directory: Path, options: Any, *, peak_per_s: float | None, cluster: str | None) -> None:
    """What `options` say beyond address, draining and trust only this machine's server can do: refused, not ignored."""
    from dataclasses import fields

    from farthing import plugins
    from farthing.artifact import load
    from farthing.engines.base import Address, Engine
    from farthing.serving import Options
    from farthing.sizing import Load
    from farthing.types import MemberRef

    known = Options(host=options.host, port=options.port, drain_s=options.drain_s, trust=options.trust)
    idle = [field.name for field in fields(Options) if getattr(options, field.name) != getattr(known, field.name)]
    if idle:
        raise JobError(f"{', '.join(idle)}: without effect with --engine {engine}; leave them out")
    knobs = () if cluster is None else (("address", cluster),)
    carrier = plugins.make(Engine, MemberRef(name=engine, knobs=knobs))  # type: ignore[type-abstract]
    address = Address(host=options.host, port=options.port, drain_s=options.drain_s, load=Load(peak_per_s=peak_per_s))
    carrier.serve(load(directory, trust=options.trust), address, tell=typer.echo)


@app.command()
def key(name: Annotated[str, typer.Argument(help="whose key it is")]) -> None:
    """Make an API key for `farthing serve --keys`: the key itself, once, and the line for the file."""
    import hashlib

    from farthing.serving.serve import new_key

    made = new_key()
    typer.echo(f"key (shown only now): {made}", err=True)
    typer.echo(f"{name} {hashlib.sha256(made.encode()).hexdigest()}")


@app.command()
def update(
    run: Annotated[Path, typer.Argument(help="the folder of a run that `optimize` finished")],
    data: Annotated[Path, typer.Option(help="new rows: .jsonl, .csv or .parquet with the columns of the job")],
    job: Annotated[Path | None, typer.Option(help="the job file of the run (default: the one that it was given)")] = None,
    how: Annotated[Literal["head", "unfreeze", "lora", "full"], typer.Option(help="what may learn")] = "unfreeze",
    epochs: Annotated[int, typer.Option(help="passes over new and replayed rows")] = 4,
    learning_rate: Annotated[float | None, typer.Option(help="default: by what may learn")] = None,
) -> None:
    """Learn from new data; kept only if it helps and breaks no floor on the old. Exit code 3: refused, all is as it was."""
    from farthing.adaptation import Adaptation
    from farthing.adaptation.verdict import markdown
    from farthing.updating import update as update_run

    try:
        adaptation = Adaptation(how=how, epochs=epochs, learning_rate=learning_rate)
        verdict = update_run(run, data, job=job, adaptation=adaptation, tell=lambda text: typer.echo(text, err=True))
    except KeyboardInterrupt:
        typer.echo("\nInterrupted. The same command goes on where it was.")
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(markdown(verdict))
    raise typer.Exit(0 if verdict.accepted else UPDATE_REFUSED)


@app.command()
def bench(
    url: Annotated[str, typer.Argument(help="POST goes there, with a JSON body")],
    requests: Annotated[Path | None, typer.Option(help="JSON Lines: one request a line")] = None,
    generate: Annotated[str | None, typer.Option(help="instead: text:WORDS or numbers:COUNT, e.g. text:8-32")] = None,
    template: Annotated[str, typer.Option(help="the body, with $REQUEST where a request goes")] = "$REQUEST",
    rate: Annotated[float | None, typer.Option(help="requests per second; a trace has its own")] = None,
    duration: Annotated[float, typer.Option(help="seconds that are judged, of each rate")] = 30.0,
    arrivals: Annotated[str, typer.Option(help="poisson, constant, gamma or trace")] = "poisson",
    cv: Annotated[float, typer.Option(help="gamma: burstiness, standard deviation of the gaps over their mean")] = 2.0,
    trace: Annotated[Path | None, typer.Option(help="CSV whose first column holds timestamps")] = None,
    slo_p99: Annotated[float | None, typer.Option(help="seconds within which 99% of all requests must be answered")] = None,
    sweep: Annotated[bool, typer.Option("--sweep", help="look for the highest rate that is carried")] = False,
    processes: Annotated[int, typer.Option(help="generator processes")] = 1,
    connections: Annotated[int, typer.Option(help="at most so many at once")] = 1000,
    timeout: Annotated[float, typer.Option(help="seconds after which a request is given up")] = 10.0,
    warmup: Annotated[float, typer.Option(help="seconds before, not judged")] = 1.0,
    header: Annotated[list[str] | None, typer.Option(help="'NAME: VALUE', any number of times")] = None,
    usd_per_hour: Annotated[float | None, typer.Option(help="of one machine, for cost per million")] = None,
    machines: Annotated[int, typer.Option(help="that serve")] = 1,
    seed: Annotated[int, typer.Option(help="of arrivals and generated requests")] = 0,
    out: Annotated[Path | None, typer.Option(help="a JSON file for everything that was measured")] = None,
) -> None:
    """Drive a server with open-loop load. Exit code 3: the SLO is broken; 4: the run is void."""
    try:
        from farthing import bench as benches
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "httptools", "bench") from error

    load = benches.Load(
        url=url, bodies=benches.bodies(requests, generate, template, seed=seed), rate_per_s=benches.mean_rate(rate, trace),
        duration_s=duration, arrivals="trace" if trace else arrivals, cv=cv, trace=trace, slo_p99_s=slo_p99,
        timeout_s=timeout, warmup_s=warmup, processes=processes, connections=connections, headers=_headers(header or []),
        usd_per_hour=usd_per_hour, machines=machines, seed=seed,
    )  # fmt: skip
    if out is not None and not out.parent.is_dir():
        raise DataError(f"--out {out}: there is no folder {out.parent}")
    done = benches.bench(load, sweep=sweep, progress=lambda run: typer.echo(benches.line(run)) if sweep else None)
    typer.echo(benches.table(load, done))
    if out is not None:
        out.write_text(benches.document(load, done), encoding="utf-8")
    last = done.knee or done.runs[-1]
    raise typer.Exit(VOID if last.void else SLO_BROKEN if last.slo_kept is False else 0)


def _terminate(*_: object) -> None:
    raise Terminated


def _headers(lines: list[str]) -> tuple[tuple[str, str], ...]:
    parted = [line.partition(":") for line in lines]
    for line, (_, colon, _) in zip(lines, parted, strict=True):
        if not colon:
            raise DataError(f"--header {line!r}: expected 'NAME: VALUE'")
    return tuple((name, value.strip()) for name, _, value in parted)


def _told(interruption: KeyboardInterrupt, job: Path, folder: Path, minutes: float | None) -> str:
    """What was kept, and how to go on."""
    word = "Terminated" if isinstance(interruption, Terminated) else "Interrupted"
    if not (folder / "journal.jsonl").is_file():
        return f"\n{word} before anything was measured."
    given = [] if minutes is None else ["--minutes", f"{minutes:g}"]
    again = shlex.join(["farthing", "optimize", str(job), "--out", str(folder), *given, "--resume"])
    return f"\n{word}. Everything measured so far is kept. Go on with:\n  {again}"


def _ask(prompt: str) -> str:
    answer = input(prompt)
    if not sys.stdin.isatty():
        typer.echo(answer)  # a terminal shows what is typed, a pipe does not
    return answer


def _explained(method: str, folder: Path | None) -> str:
    import json

    from farthing.reporting.explanation import explanation

    record = None if folder is None else folder / "decision.json"
    return explanation(method, json.loads(record.read_text(encoding="utf-8")) if record and record.is_file() else None)


def main() -> None:
    """A user's mistake is one line on standard error and exit code 2, never a traceback."""
    try:
        app()
    except FarthingError as error:
        typer.secho(f"farthing: {error}", fg="red", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
