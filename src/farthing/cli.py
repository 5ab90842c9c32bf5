"""The command line: parse arguments; each command calls one verb. Nothing heavy is imported until a step needs it."""

import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from farthing.errors import ArtifactError, DataError, FarthingError
from farthing.units import from_gib

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find the cheapest way to run the model you have, and prove that nothing was lost on the way.",
)

render = typer.Typer(no_args_is_help=True, help="Write an artifact down for machinery that is not ours.")
app.add_typer(render, name="render")

NOTHING_MEETS_THE_FLOOR = 3
INTERRUPTED, TERMINATED = 130, 143  # 128 and the number of the signal


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is how batch systems and containers interrupt."""


@app.command()
def optimize(
    job: Annotated[Path, typer.Argument(help="the job file; `farthing init` writes one")],
    out: Annotated[Path | None, typer.Option(help="the run directory (default: runs/NAME)")] = None,
    minutes: Annotated[float | None, typer.Option(help="time for the search, instead of the job's budget.minutes")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run that is in --out")] = False,
    explain: Annotated[
        str | None, typer.Option(metavar="METHOD", help="only tell what a method does, and what the run found")
    ] = None,
) -> None:
    """Find, prove and pack the cheapest deployment. Exit code 3: nothing keeps the floor and the SLO."""
    if explain is not None:
        typer.echo(_explained(explain, out or Path("runs") / job.stem))
        return
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

    verdict = verify_artifact(_artifact(artifact), trust=trust)
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
    for answer in predict_artifact(_artifact(artifact), inputs, trust=trust):
        typer.echo(json.dumps(answer.tolist()))
        answered = True
    if not answered:
        raise DataError(f"{inputs} holds no requests: write one a line, as JSON")


@app.command()
def gate(
    artifact: Annotated[Path, typer.Argument(help="a folder that `optimize` saved")],
    job: Annotated[Path, typer.Option(help="the job whose floors it must keep, as they are now")],
    trust: Annotated[bool, typer.Option("--trust", help="open a model that is a pickle")] = False,
) -> None:
    """For CI: exit code 0 or 1, and a short Markdown verdict."""
    from farthing import spec
    from farthing.artifact import gate as gate_artifact

    code, markdown = gate_artifact(_artifact(artifact), spec.read_floors(job), trust=trust)
    typer.echo(markdown)
    raise typer.Exit(code)


@render.command()
def container(
    artifact: Annotated[Path, typer.Argument(help="a folder that `optimize` saved")],
    out: Annotated[Path, typer.Option(help="the folder to write into")],
    image: Annotated[str | None, typer.Option(help="the image's name (default: JOB:VERSION)")] = None,
    drain_s: Annotated[float, typer.Option(help="at SIGTERM, so long for what is under way")] = 30.0,
    memory_gib: Annotated[float | None, typer.Option(help="of the process with the model (default: as measured)")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="a model that is a pickle")] = False,
) -> None:
    """A container file: slim, no root, built only from this very artifact."""
    from farthing.rendering import Place
    from farthing.rendering import render as render_artifact
    from farthing.sizing import Load

    load = Load(memory_bytes=None if memory_gib is None else from_gib(memory_gib))
    place = Place(image=image, drain_s=drain_s, load=load)
    for path in render_artifact("container", _artifact(artifact), out, place, trust=trust):
        typer.echo(path)


@render.command()
def kubernetes(
    artifact: Annotated[Path, typer.Argument(help="a folder that `optimize` saved")],
    out: Annotated[Path, typer.Option(help="the folder to write into")],
    namespace: Annotated[str, typer.Option(help="where it goes")] = "default",
    image: Annotated[str | None, typer.Option(help="as pushed (default: JOB:VERSION)")] = None,
    name: Annotated[str | None, typer.Option(help="of the objects (default: the job's)")] = None,
    scaler: Annotated[str, typer.Option(help="hpa (on CPU), keda (on busy streams and queue) or none")] = "hpa",
    prometheus: Annotated[str | None, typer.Option(help="URL of the server that KEDA asks")] = None,
    monitor: Annotated[bool, typer.Option(help="write a ServiceMonitor")] = True,
    rate_per_s: Annotated[float | None, typer.Option(help="mean requests per second (default: the plan's)")] = None,
    peak_per_s: Annotated[float | None, typer.Option(help="the most requests per second (default: twice the mean)")] = None,
    headroom: Annotated[float, typer.Option(help="share of each replica kept free")] = 0.2,
    spare: Annotated[int, typer.Option(help="replicas beyond the need")] = 0,
    drain_s: Annotated[float, typer.Option(help="at SIGTERM, so long for what is under way")] = 30.0,
    memory_gib: Annotated[float | None, typer.Option(help="of the process with the model (default: as measured)")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="a model that is a pickle")] = False,
) -> None:
    """Deployment, Service, scaler, disruption budget, monitor; each number says where it comes from."""
    from farthing.rendering import Place
    from farthing.rendering import render as render_artifact
    from farthing.sizing import Load

    load = Load(
        rate_per_s=rate_per_s,
        peak_per_s=peak_per_s,
        headroom=headroom,
        spare=spare,
        memory_bytes=None if memory_gib is None else from_gib(memory_gib),
    )
    place = Place(
        namespace=namespace,
        image=image,
        name=name,
        scaler=scaler,
        prometheus=prometheus,
        monitored=monitor,
        drain_s=drain_s,
        load=load,
    )
    for path in render_artifact("kubernetes", _artifact(artifact), out, place, trust=trust):
        typer.echo(path)


def _terminate(*_: object) -> None:
    raise Terminated


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


def _explained(method: str, folder: Path) -> str:
    import json

    from farthing.reporting.explanation import explanation

    record = folder / "decision.json"
    return explanation(method, json.loads(record.read_text(encoding="utf-8")) if record.is_file() else None)


def _artifact(path: Path) -> Path:
    """`path`, unless it is the folder of a run, in which the artifact lies."""
    if (path / "journal.jsonl").is_file():
        if (path / "artifact").is_dir():
            raise ArtifactError(f"{path} is the folder of a run. Its artifact is {path / 'artifact'}: name that")
        raise ArtifactError(
            f"{path} is the folder of a run that packed no artifact. Its report.html, if it has ended, says why"
        )
    if not path.is_dir():
        raise ArtifactError(f"{path} {'is a file' if path.exists() else 'does not exist'}: name a folder that `optimize` saved")
    return path


def main() -> None:
    """A user's mistake is one line on standard error and exit code 2, never a traceback."""
    try:
        app()
    except FarthingError as error:
        typer.secho(f"farthing: {error}", fg="red", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
