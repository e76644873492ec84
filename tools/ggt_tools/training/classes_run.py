"""Train the classifier of photographs, and write its head."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ggt_tools.errors import ConfigError
from ggt_tools.events import SILENT, Events
from ggt_tools.files.outputs import check_output_file
from ggt_tools.summary import Summary
from ggt_tools.training.photo_classifier import EXTRA, ClassTraining, find_photographs, train_classes


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainClassesConfig:
    """The inputs and the numbers of the training.

    Attributes:
        photographs: Folders of clean photographs with sides of 256 px or more.
        out: Head file to write (.npz).
        labelled: Folder of real degraded photographs, with a folder for each class; None for none.
        samples: Number of degraded samples of each photograph.
        workers: Number of processes that make samples.
        seed: Seed of the samples and of the fit.
        dry_run: Only return the plan.
    """

    photographs: tuple[Path, ...]
    out: Path
    labelled: Path | None = None
    samples: int = 8
    workers: int = 2
    seed: int = 0
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not self.photographs:
            raise ConfigError("train-classes: no folder of photographs is given. Name one or more.")
        self.training()

    def training(self) -> ClassTraining:
        """Return the numbers that the training itself needs."""
        return ClassTraining(samples=self.samples, workers=self.workers, seed=self.seed)


def run(config: TrainClassesConfig, *, events: Events = SILENT) -> Summary:
    """Train the classifier on synthetic and labelled degradations.

    Args:
        config: The photographs, the file to write, and the numbers of the training.
        events: Receives each line that the training reports; the summary repeats them.

    Raises:
        ConfigError: There are too few photographs, or a labelled folder does not have the name of a class.
    """
    check_output_file(config.out)
    if config.dry_run:
        photo_count = len(find_photographs(config.photographs))
        sample_count = photo_count * (config.samples + len(EXTRA))
        plan = f"would make {sample_count} samples of {photo_count} photographs, and fit the head to them"
        return Summary(stage="train-classes", plan=(plan,))
    lines: list[str] = []
    with events.progress("train-classes", None) as progress:

        def report(line: str) -> None:
            lines.append(line)
            progress.show(status=line)

        head = train_classes(config.photographs, config.labelled, config.out, config.training(), report)
    digest = hashlib.sha256(config.out.read_bytes()).hexdigest()
    return Summary(
        stage="train-classes",
        counts={"classes": len(head.names), "networks": len(head.networks)},
        notes=(*lines, f"wrote {config.out}; photo_classes.HEAD_SHA256 = {digest}"),
        paths=(str(config.out),),
    )
