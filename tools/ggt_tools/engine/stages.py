"""The stages as engines see them: what a worker loads, and the facts that it makes of works."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ggt_format
from ggt_tools.degradations import opencv
from ggt_tools.engine.facts import Fault
from ggt_tools.engine.task import Perform, unseen
from ggt_tools.errors import ConfigError, PairError, TransientError
from ggt_tools.iqa import IqaConfig
from ggt_tools.ledger import ImageFolder
from ggt_tools.records import Call, Candidate, Finding, Opinion, Score, work_id
from ggt_tools.restore import Work as RestoreWork
from ggt_tools.restore import kept, sent
from ggt_tools.score import OWN, Scorer
from ggt_tools.store import Store

if TYPE_CHECKING:
    from ggt_tools.pack.writing import ShardJob
    from ggt_tools.restorers.protocol import Image
    from ggt_tools.screen import Work as Look
    from ggt_tools.validate.shards import Job as ShardCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreWork:
    """A candidate, and the metrics that it lacks."""

    key: str
    candidate: str
    lq: str  # SHA-256 of the photograph's file
    gt: str  # of the candidate's, as it was aligned
    width: int
    height: int
    metrics: tuple[tuple[str, str], ...]  # name and version

    @property
    def id(self) -> str:
        return work_id(self.key, self.candidate, self.gt, *(f"{name} {version}" for name, version in self.metrics))

    @property
    def subject(self) -> str:
        return f"candidate {self.candidate}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """score. `versions`: of the metrics, as the ledger is to have them."""

    versions: tuple[tuple[str, str], ...]
    config: IqaConfig
    name: str = "score"

    @property
    def gpu(self) -> bool:
        return self.config.device != "cpu" and any(metric not in OWN for metric, _ in self.versions)

    def ready(self, store: Store) -> Perform:
        if find_spec("cv2") is not None:
            opencv().setNumThreads(1)  # the other cores have a process each
        scorer = Scorer([metric for metric, _ in self.versions], self.config)
        for metric, version in self.versions:
            if scorer.versions[metric] != version:
                raise ConfigError(
                    f"metric {metric!r}: is of version {scorer.versions[metric]!r} where a worker runs and of "
                    f"{version!r} where the ledger is; install the same there"
                )
        return self.performing(scorer, store)

    @staticmethod
    def performing(scorer: Scorer, store: Store) -> Perform:
        """What ready() gives, of a scorer that is there."""
        images = ImageFolder(store)

        def perform(works: Sequence[ScoreWork]) -> Iterator[Score | Fault]:
            for some in _batches(works, scorer.batch):
                wanted = [metric for metric, _ in some[0].metrics]
                pairs = [
                    (
                        work.candidate,
                        ggt_format.decode_image(images.image(work.lq), work.key),
                        ggt_format.decode_image(images.image(work.gt), work.key),
                    )
                    for work in some
                ]
                try:
                    yield from scorer.score(pairs, wanted)
                except PairError:
                    for work, pair in zip(some, pairs, strict=True):  # one by one: the others of the batch are good
                        try:
                            yield from scorer.score([pair], wanted)
                        except PairError as fault:
                            yield Fault(work=work.id, subject=work.subject, reason=fault.reason, detail=str(fault))

        return perform


def _batches(works: Sequence[ScoreWork], most: int) -> Iterator[list[ScoreWork]]:
    """Neighbours of one size that want the same metrics, at most so many."""
    for _, some in groupby(works, lambda work: (work.metrics, work.width, work.height)):
        while part := list(islice(some, most)):
            yield part


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoring:
    """restore, by a restorer that runs where the worker does; what asks a server is called from where the ledger is."""

    maker: str  # as --with names it
    timeout: float
    options: tuple[tuple[str, str], ...]
    names: tuple[tuple[str, str], ...]  # key, and the file that its photograph came in as
    name: str = "restore"

    @property
    def gpu(self) -> bool:
        return self.maker.startswith("diffusers") and dict(self.options).get("device", "cuda").startswith("cuda")

    def ready(self, store: Store) -> Perform:
        from ggt_tools.restorers import restorer
        from ggt_tools.restorers.protocol import Setting

        setting = Setting(timeout=self.timeout, names=dict(self.names), options=dict(self.options))
        maker = restorer(self.maker, setting)
        images = ImageFolder(store)

        def perform(works: Sequence[RestoreWork]) -> Iterator[Candidate | Fault]:
            files: dict[str, str] = {}
            for work in works:
                photo, candidate = work.photo, work.candidate
                try:
                    image = sent(ggt_format.decode_image(images.image(photo.image), photo.file), candidate, maker)
                    restored = maker.restore(image, candidate.prompt, seed=candidate.seed)
                    reply = kept(work.id, restored, lambda id, data: files.update({id: images.put(data)}))
                    reason, detail = reply.reason, reply.detail
                except (PairError, TransientError) as fault:
                    reason, detail = fault.reason, str(fault)
                yield replace(candidate, image=files.get(work.id, ""), reason=reason, created=_now())
                if reason:
                    yield Fault(work=work.id, subject=work.subject, reason=reason, detail=detail)

        return perform


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """screen, by a model on servers of one's own: nothing is paid, so nothing has to be noted before it is sent."""

    vlm: str  # as --vlm names it
    base_url: str
    timeout: float
    options: tuple[tuple[str, str], ...]
    in_flight: int  # of a worker
    attempts: int
    name: str = "screen"
    gpu: bool = False

    def ready(self, store: Store) -> Perform:
        from ggt_tools.calls import CallConfig
        from ggt_tools.restorers.protocol import Setting
        from ggt_tools.screen import screen
        from ggt_tools.vlm import vlm

        model = vlm(self.vlm, Setting(base_url=self.base_url, timeout=self.timeout, options=dict(self.options)))
        config = CallConfig(in_flight=self.in_flight, attempts=self.attempts)
        images = ImageFolder(store)

        def load(name: str) -> Image:
            return ggt_format.decode_image(images.image(name), name)

        def perform(works: Sequence[Look]) -> Iterator[Opinion | Call]:
            for ended in screen(works, model, config, load=load, note=lambda calls: None, clock=_now):
                for opinion, call in ended:
                    yield call
                    if opinion is not None:
                        yield opinion

        return perform


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """pack: a shard, and beside it the note that it is done."""

    part: str  # the folder that the release is built in
    plan: str  # the digest of what it is to hold, as that folder has it
    name: str = "pack"
    gpu: bool = False

    def ready(self, store: Store) -> Perform:
        from ggt_tools.pack.place import planned
        from ggt_tools.pack.writing import write_shard

        if planned(Path(self.part)) != self.plan:
            raise unseen(self.part)

        def perform(works: Sequence[ShardJob]) -> Iterator[Fault]:
            for job in works:
                write_shard(job, int)
            yield from ()

        return perform


@dataclass(frozen=True, slots=True, kw_only=True)
class Validating:
    """validate: what is wrong with a shard."""

    root: str  # a folder or an fsspec URL
    identity: str  # of its manifest
    options: tuple[tuple[str, Any], ...]  # of fsspec
    name: str = "validate"
    gpu: bool = False

    def ready(self, store: Store) -> Perform:
        from ggt_tools.validate.shards import check_shard

        try:
            found = ggt_format.open_root(self.root, storage_options=dict(self.options)).identity
        except ConfigError as fault:
            raise unseen(self.root) from fault
        if found != self.identity:
            raise unseen(self.root)

        def perform(works: Sequence[ShardCheck]) -> Iterator[Finding]:
            for job in works:
                yield from check_shard(job, int)

        return perform


def _now() -> str:
    """UTC, ISO 8601, whole seconds."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
