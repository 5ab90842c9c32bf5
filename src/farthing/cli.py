"""The command line: parse arguments; each command calls one verb. Nothing heavy is imported until a step needs it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from farthing.errors import FarthingError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find the cheapest way to run the model you have, and prove that nothing was lost on the way.",
)

NOTHING_MEETS_THE_FLOOR = 3
INTERRUPTED = 130


@app.command()
def optimize(
    job: Annotated[Path, typer.Argument(help="the job file; `farthing init` writes one")],
    out: Annotated[Path | None, typer.Option(help="the run directory (default: runs/NAME)")] = None,
    minutes: Annotated[float | None, typer.Option(help="time for the search, instead of the job's budget.minutes")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run that is in --out")] = False,
) -> None:
    """Find, prove and pack the cheapest deployment. Exit code 3: nothing keeps the floor and the SLO."""
    from farthing import flow, spec
    from farthing.reporting.terminal import LiveView, table

    asked = spec.read(job, minutes=minutes)
    folder = out or Path("runs") / asked.name
    try:
        with LiveView() as view:
            decision = flow.optimize(asked, out=folder, resume=resume, progress=view.event)
    except KeyboardInterrupt:
        typer.echo(
            f"\nInterrupted. Everything measured so far is kept. Go on with:\n  farthing optimize {job} --out {folder} --resume"
        )
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(table(decision, folder))
    if decision.verdict == "nothing":
        raise typer.Exit(NOTHING_MEETS_THE_FLOOR)


@app.command()
def init(path: Annotated[Path, typer.Argument(help="where to write the job file")] = Path("job.toml")) -> None:
    """Ask a few questions and write a commented job file."""
    from farthing.spec.init import write_job

    write_job(path, ask=typer.prompt, confirm=typer.confirm)
    typer.echo(f"Wrote {path}. Next: farthing optimize {path}")


@app.command()
def verify(
    artifact: Annotated[Path, typer.Argument(help="a folder that `optimize` saved")],
    trust: Annotated[bool, typer.Option("--trust", help="open a model that is a pickle")] = False,
) -> None:
    """Open an artifact in a clean process, check every digest, and measure quality and speed again."""
    from farthing.artifact import verify as verify_artifact

    verdict = verify_artifact(artifact, trust=trust)
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

    for answer in predict_artifact(artifact, inputs, trust=trust):
        typer.echo(json.dumps(answer.tolist()))


@app.command()
def gate(
    artifact: Annotated[Path, typer.Argument(help="a folder that `optimize` saved")],
    job: Annotated[Path, typer.Option(help="the job whose floors it must keep, as they are now")],
    trust: Annotated[bool, typer.Option("--trust", help="open a model that is a pickle")] = False,
) -> None:
    """For CI: exit code 0 or 1, and a short Markdown verdict."""
    from farthing import spec
    from farthing.artifact import gate as gate_artifact

    code, markdown = gate_artifact(artifact, spec.read(job).floors, trust=trust)
    typer.echo(markdown)
    raise typer.Exit(code)


def main() -> None:
    """A user's mistake is one line on standard error and exit code 2, never a traceback."""
    try:
        app()
    except FarthingError as error:
        typer.secho(f"farthing: {error}", fg="red", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
