"""update(): a finished run learns from new data; accepted only if nothing old is lost, and compressed as was chosen before."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from farthing import artifact, codec, workbench
from farthing import pipeline as pipelines
from farthing.adaptation import Adaptation, Reservoir, Task, adapt
from farthing.adaptation.memory import Memory
from farthing.adaptation.replay import joined
from farthing.adaptation.verdict import Guard, Verdict, markdown, read, to_json
from farthing.artifact import Sample
from farthing.certification import Ledger, certify
from farthing.errors import BuildError, BuildTimeout, JobError
from farthing.measurement import session
from farthing.measurement.workers import Worker
from farthing.metrics import metric_of
from farthing.results import Candidate, Decision, Evidence
from farthing.standing import MODEL, UPDATES, Fresh, Standing, alone, asked, fresh, noted, standing
from farthing.store import Store, filling, sync_tree
from farthing.types import Array, Build, Context, Dataset, Floor, Job, Pipeline
from farthing.units import from_gib, from_minutes
from farthing.workshop import ANSWER_BATCH, FREE_MEMORY_SHARE, NUM_CALIBRATION, state_home

REPLAYED = 2000  # old items that are remembered, at most
FULL = Adaptation(how="full")
VERDICT = "verdict.json"  # the last that is written

Tell = Callable[[str], None]


def update(run: Path, data: Path, *, job: Path | None = None, adaptation: Adaptation = FULL, tell: Tell = print) -> Verdict:
    """Let the model of the finished `run` learn the rows of `data` beside replayed old ones; RUN/updates/NNN holds the answer.

    Accepted: on new rows that nothing learned from, every metric of labels has risen for sure; on the verify split (and what
    earlier updates were judged on) every floor is certified against the model that first stood for those items; both hold
    for the build that is deployed too, made by the recipe that was chosen before, and that build keeps every floor against
    the model that it was made from. All are one-sided paired tests, at what the ledger leaves of alpha on their items.
    Then NNN/artifact is the new artifact. The run and its earlier artifacts are never written to; a call that was killed goes
    on where it was when it is repeated.

    Raises JobError, DataError, StoreError, ArtifactError for what cannot be asked, BuildError for a model that cannot learn.
    """
    adaptation.check()
    now = standing(run)
    wanted, draft = asked(job or noted(run), now.manifest)
    if now.model.form != "torch" or "float_weights" not in now.model.traits:
        raise JobError(f"{run}: an update learns in torch with float weights, and the form of this model is {now.model.form}")
    new = fresh(data, draft, wanted, now)
    question = codec.digest(
        (wanted.digest, new.learned, new.calibrate, new.judged, dataclasses.asdict(adaptation), now.manifest.files)
    )
    updates = run / UPDATES
    with alone(updates):
        working = updates / f".{question[:16]}"
        number = 1 + max((int(path.name) for path in updates.glob("[0-9][0-9][0-9]")), default=0)
        if not (working / VERDICT).exists():  # else it was killed before it had its number
            with Store.open(working, digest=question, resume=True) as store, _worker(wanted, working) as worker:
                _Update(store, worker, wanted, now, new, adaptation, tell).run(number)
        working.rename(updates / f"{number:03d}")
    return read(updates / f"{number:03d}" / VERDICT)


class _Update:
    """Everything slow is computed when it is first asked for, and recorded in the update's own store."""

    def __init__(  # noqa: PLR0913 - what update() has found out
        self, store: Store, worker: Worker, job: Job, now: Standing, new: Fresh, adaptation: Adaptation, tell: Tell
    ) -> None:
        self.store, self.worker, self.job, self.now, self.new = store, worker, job, now, new
        self.adaptation, self.tell = replace(adaptation, seed=job.seed), tell
        start = Reservoir(size=REPLAYED, seed=job.seed).after(job.splits.train)
        self.replay = now.memory.replay if now.memory else start
        self.guarded = now.memory.guarded if now.memory else job.splits.verify

    def run(self, number: int) -> None:
        """Put the guards one after the other, until one does not hold; write down what became of it."""
        guards: list[Guard] = []
        refused: str | None = None
        try:
            for guard in self._guards():
                guards.append(guard)
                self.tell(f"{guard.about}: {guard.asks if guard.holds else 'refused'}")
                if not guard.holds:
                    refused = guard.reason
                    break
        except BuildTimeout:
            raise  # no answer: repeated, it goes on
        except BuildError as error:
            if not self.store.has(*MODEL):
                raise
            refused = f"what was learned cannot be deployed as {self._build}: {error}"
        verdict = Verdict(
            number=number,
            accepted=refused is None,
            reason=refused or "new data is answered better, and nothing old is lost",
            how=self.adaptation.how,
            build=str(self._build),
            num_learned=len(self.new.learned),
            num_replayed=len(self.replay.kept),
            num_judged=len(self.new.judged),
            guards=tuple(guards),
            seconds=self.store.spent_s,
            notes=(*self.new.notes, *self._warnings()),
        )
        self._write(verdict)

    def _guards(self) -> Iterator[Guard]:
        """Old items are opened last: each look at them costs alpha."""
        plain = self.now.manifest.baseline.build
        yield self._risen("the adapted model, new data", self._answers("adapted", "judged"))
        yield self._kept("the adapted model, old data", self._answers("adapted", "guarded"), self._reference)
        if self._build == plain:
            return
        yield self._risen("the deployed build, new data", self._answers("built", "judged"))
        yield self._kept("the deployed build, old data", self._answers("built", "guarded"), self._reference)
        yield self._kept(
            "the deployed build against the adapted model",
            self._answers("built", "guarded"),
            self._answers("adapted", "guarded"),
        )

    # ------------------------------------------------------------ the questions

    def _risen(self, about: str, answers: Array) -> Guard:
        """H0 "it has not risen" is rejected iff the upper bound of the drop is below 0."""
        evidence = _evidence(self.new.judged, self._answers("deployed", "judged"), answers)
        floors = [
            replace(f, max_drop=0.0, minimum=None, slices=None) for f in self.job.floors if metric_of(f.metric).needs_labels
        ]
        return self._asked(about, "quality has risen", evidence, floors, "judged")

    def _kept(self, about: str, answers: Array, before: Array) -> Guard:
        evidence = _evidence(self.guarded, before, answers)
        return self._asked(about, "no floor is broken", evidence, self.job.floors, "guarded")

    def _asked(self, about: str, asks: str, evidence: Evidence, floors: Sequence[Floor], items: str) -> Guard:
        share = self._share(items)
        found = [certify(evidence, f, alpha=(1 - f.confidence) * share, seed=self.job.seed) for f in floors]
        return Guard(about=about, asks=asks, certificates=tuple(c for certificates in found for c in certificates))

    def _share(self, items: str) -> float:
        """What the ledger leaves of alpha on these items. All guards must hold, so each may spend all of it (Berger 1982)."""
        digests = [codec.digest(item) for item in zip(*self._items(items).columns, strict=True)]
        name = self.store.once("run", items, lambda: uuid4().hex)
        return Ledger(state_home() / "ledger.jsonl").spend(name, digests)

    # ------------------------------------------------------------ the models and their answers

    @property
    def _build(self) -> Build:
        return self.now.manifest.deployment.build

    @cached_property
    def _adapted(self) -> Pipeline:
        def make(directory: Path) -> Pipeline:
            learned = joined(self.replay.kept, self.new.learned)
            self.tell(
                f"learning from {len(self.new.learned)} new and {len(self.replay.kept)} old items ({self.adaptation.how})"
            )
            return self._call(learn, self.now.model, directory, learned, self.adaptation, self._threads, self._learning)

        pipeline = self.store.folder(*MODEL, make)
        shutil.rmtree(self._learning, ignore_errors=True)
        return pipeline

    @cached_property
    def _built(self) -> Pipeline:
        """The recipe of the run once more; ranges and thresholds from old and new calibration items."""
        old, new = self.job.splits.calibrate, self.new.calibrate
        requests = [*old.requests[:NUM_CALIBRATION], *new.requests[:NUM_CALIBRATION]]
        context = Context(
            calibration=tuple(pipelines.feeds_of(self._adapted, requests, 1)),
            calibrate=joined(old, new),
            sensitivities=self.now.sensitivities,
            threads=self._threads,
            seed=self.job.seed,
            train=joined(self.replay.kept, self.new.learned),
            original=self._adapted,
        )

        def make(directory: Path) -> Pipeline:
            self.tell(f"applying {self._build} again")
            cache = self.store.directory / "conversions"
            return self._call(workbench.build, self._adapted, self._build, directory, context, cache)

        pipeline = self.store.folder("build", "chosen", make)
        shutil.rmtree(self.store.directory / "conversions", ignore_errors=True)
        return pipeline

    @property
    def _reference(self) -> Array:
        """What was answered to the guarded items by the model that first stood for them."""
        return self.now.memory.reference if self.now.memory else self._answers("original", "guarded")

    def _answers(self, who: str, items: str) -> Array:
        plain, chosen = self.now.manifest.baseline, self.now.manifest.deployment

        def compute() -> Array:
            directory, deployment = {
                "original": lambda: (self.now.original.directory, plain),
                "deployed": lambda: (self.now.deployed, chosen),
                "adapted": lambda: (self._adapted.directory, plain),
                "built": lambda: (self._built.directory, chosen),
            }[who]()
            data, build = self._items(items), deployment.build
            self.worker.call(session.open_build, directory, build.runtime, self._threads, 1, build.device_kind)
            return data.predictions(self.worker.call(session.answers, data.requests, ANSWER_BATCH))

        return self.store.once(f"answers of {who}", items, compute)

    def _items(self, name: str) -> Dataset:
        return {"judged": self.new.judged, "guarded": self.guarded}[name]

    @property
    def _threads(self) -> int:
        return self.now.manifest.baseline.threads

    @property
    def _learning(self) -> Path:
        return self.store.directory / "learning"

    def _call(self, function: Callable[..., Pipeline], *arguments: Any) -> Pipeline:
        """What may learn has the budget's whole time."""
        made: Pipeline = self.worker.call(function, *arguments, timeout_s=from_minutes(self.job.budget.minutes))
        return made

    # ------------------------------------------------------------ what is left behind

    def _warnings(self) -> tuple[str, ...]:
        if len(self.job.splits.train) or len(self.replay.kept):
            return ()
        return ("the job has no train split, so that nothing old could be replayed",)

    def _write(self, verdict: Verdict) -> None:
        """The artifact and the memory of an accepted update; then the verdict, the sign that all is there."""
        directory = self.store.directory
        if verdict.accepted:
            self._pack(verdict)
            memory = Memory(replay=self.replay, guarded=self.guarded, reference=self._reference)
            memory.after(self.new.learned, self.new.judged, self._answers("adapted", "judged")).write(directory)
        (directory / "verdict.md").write_text(markdown(verdict), encoding="utf-8")
        sync_tree(directory)
        scratch = directory / f".{VERDICT}"
        scratch.write_text(to_json(verdict), encoding="utf-8")
        scratch.replace(directory / VERDICT)

    def _pack(self, verdict: Verdict) -> None:
        """Costs are those of the run: the same recipe on the same architecture; they were not measured again."""
        manifest = self.now.manifest
        deployed = self._build != manifest.baseline.build
        kept = next(g for g in reversed(verdict.guards) if g.about.endswith("old data"))
        figures = tuple(figure for figure in manifest.figures if figure.name != "drop")
        chosen = Candidate(deployment=manifest.deployment, cost=manifest.cost, figures=figures, certificates=kept.certificates)
        decision = Decision(
            job_name=manifest.job_name, job_digest=manifest.job_digest, verdict="saves",
            summary=f"{verdict.title}: {verdict.reason}. Costs are as measured before it.",
            baseline=Candidate(deployment=manifest.baseline, cost=manifest.baseline_cost), chosen=chosen,
            saving=manifest.saving, candidates=(), front=(), rejected=(), floors=manifest.floors,
            environment=manifest.environment, artifact="artifact",
        )  # fmt: skip
        carried = Sample(items=self.guarded, original=self._reference) if self.job.carry_sample else None
        artifact.save(
            self._built if deployed else self._adapted,
            self.store.directory / "artifact",
            decision=decision,
            original_digest=manifest.original_digest,
            carried=carried,
        )


def _worker(job: Job, directory: Path) -> Worker:
    """One process for all steps: they follow one another, and none is timed."""
    limit_gib = job.budget.max_rss_gib
    return Worker(
        log=directory / "worker.log",
        max_rss_bytes=from_gib(limit_gib) if limit_gib else FREE_MEMORY_SHARE * psutil.virtual_memory().available,
        timeout_s=job.budget.trial_timeout_s,
    )


def learn(  # noqa: PLR0913 - a call into a worker
    state: dict[str, Any],
    source: Pipeline,
    directory: Path,
    data: Dataset,
    adaptation: Adaptation,
    threads: int,
    checkpoints: Path,
) -> Pipeline:
    with filling(directory):
        task = Task(name=source.outputs[0].name, data=data)
        return adapt(source, directory, [task], adaptation, threads=threads, checkpoints=checkpoints)


def _evidence(items: Dataset, before: Array, after: Array) -> Evidence:
    return Evidence(original=before, candidate=after, labels=items.labels, slices=items.slices)
