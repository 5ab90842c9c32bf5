"""The command line of `farthing render`, and how a command finds the artifact that is meant."""

from pathlib import Path
from typing import Annotated

import typer

from farthing.errors import ArtifactError
from farthing.units import from_gib

render = typer.Typer(no_args_is_help=True, help="Write an artifact down for machinery that is not ours.")


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
    for path in render_artifact("container", artifact_folder(artifact), out, place, trust=trust):
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
    for path in render_artifact("kubernetes", artifact_folder(artifact), out, place, trust=trust):
        typer.echo(path)


def artifact_folder(path: Path) -> Path:
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
