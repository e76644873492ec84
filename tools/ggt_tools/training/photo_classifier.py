"""Train the classifier of photographs on synthetic degradations of clean photographs and on labelled real photographs.

    train_classes([clean_folder], labelled_folder, out, ClassTraining(), print)

A run makes the samples, computes their features (features.py), fits the head and writes it. It does not need torch,
because the network that computes the features is not trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.errors import ConfigError
from ggt_tools.imaging.photo_classes.features import describe
from ggt_tools.imaging.photo_classes.head import FitConfig, Head, fit_head, save_head
from ggt_tools.imaging.planes import opencv
from ggt_tools.processes import in_processes
from ggt_tools.training.photo_synthesis import CLASSES, degrade

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SHORT_SIDE = 256  # px: smaller photographs are ignored
DECODED = 1280  # px: long side of a photograph in memory
LONG_SIDES = (220.0, 700.0)  # px: range of long sides of samples
LABELLED_SIZES = (400, 800)  # px: long sides at which features of a labelled photograph are computed
LABELLED_WEIGHT = 3  # weight of a labelled photograph relative to a synthetic one
EXTRA = ("rain", "snow", "raindrop")  # classes that vary most: each photograph gives one more sample of them
HELD_OUT = 10  # every tenth photograph is held out to measure the accuracy
PRIOR = {  # expected relative frequency of each class (ours)
    "mixed": 1.5, "rain": 1.0, "haze": 1.0, "snow": 1.0, "low_light": 1.0, "old_photo": 1.0, "raindrop": 0.8,
    "underwater": 0.8, "reflection": 0.12, "shadow": 0.10, "motion_blur": 0.8, "defocus_blur": 0.5,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTraining:
    """The numbers of the training.

    Attributes:
        samples: Number of samples of each clean photograph, each of another class; those of EXTRA are added.
        workers: Number of processes.
        seed: Seed of the samples and of the fit.
        fit: The fit of the head.
    """

    samples: int = 8
    workers: int = 2
    seed: int = 0
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        if not 1 <= self.samples <= len(CLASSES):
            raise ConfigError(f"train-classes: --samples {self.samples}: must be from 1 to {len(CLASSES)}.")
        if self.workers < 1:
            raise ConfigError(f"train-classes: --workers {self.workers}: must be 1 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Features and labels of samples.

    Attributes:
        features: float32 (n, d). Row i is the vector that `describe` returns for sample i.
        labels: The class of each sample, n strings.
        photographs: int64 (n,). The index of the clean photograph that each sample was made of; -1 for a labelled one.
    """

    features: npt.NDArray[np.float32]
    labels: tuple[str, ...]
    photographs: npt.NDArray[np.int64]


def train_classes(
    folders: Sequence[Path], labelled: Path | None, out: Path, config: ClassTraining, report: Callable[[str], None]
) -> Head:
    """Train the head on clean photographs and write it to `out`.

    Args:
        folders: Folders of clean photographs.
        labelled: A folder with real photographs in a folder for each class; None for none.
        out: The head file to write.
        config: Number of samples, of processes, and the fit.
        report: Receives lines of progress and the accuracy on held-out photographs.

    Raises:
        ConfigError: There are fewer than HELD_OUT clean photographs, or a labelled folder does not have the name of a
            class.
    """
    clean = find_photographs(folders)
    if len(clean) < HELD_OUT:
        raise ConfigError(
            f"{', '.join(map(str, folders))}: {len(clean)} photographs with sides of {SHORT_SIDE} px or more are too "
            f"few. Add photographs, to have {HELD_OUT} or more."
        )
    samples = make_samples(clean, config, report)
    real = describe_labelled(labelled) if labelled else None
    head = fit_samples(samples, real, config, report)
    save_head(head, out)
    return head


def find_photographs(folders: Iterable[Path]) -> list[Path]:
    """Return the photographs of some folders that are large enough, sorted by name."""
    from PIL import Image as Pillow

    paths = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                with Pillow.open(path) as file:
                    if min(file.size) >= SHORT_SIDE:
                        paths.append(path)
    return paths


def make_samples(clean: Sequence[Path], config: ClassTraining, report: Callable[[str], None]) -> Samples:
    """Degrade each photograph and compute its features. The number of workers does not change the result."""
    jobs = list(range(len(clean)))
    work = partial(_describe_one, tuple(clean), config.samples, config.seed)
    parts = []
    for part in in_processes(work, jobs, config.workers, int):
        parts.append(part)
        if len(parts) % 50 == 0:
            report(f"{len(parts)} of {len(clean)} photographs")
    return Samples(
        features=np.concatenate([part.features for part in parts]),
        labels=tuple(label for part in parts for label in part.labels),
        photographs=np.concatenate([part.photographs for part in parts]),
    )


def describe_labelled(folder: Path) -> Samples:
    """Compute the features of real photographs at LABELLED_SIZES. The names of the folders are the classes."""
    features, labels, owners = [], [], []
    for name in sorted(path.name for path in folder.iterdir() if path.is_dir()):
        if name not in CLASSES:
            raise ConfigError(f"{folder / name}: is not a class. Name the folder one of {', '.join(CLASSES)}.")
        for path in find_photographs([folder / name]):
            image = _read(path)
            for side in LABELLED_SIZES:
                features.append(describe(_at_most(image, side)))
                labels.append(name)
                owners.append(-1)
    if not features:
        raise ConfigError(f"{folder}: has no photographs in folders with names of classes. Add some.")
    return Samples(features=np.stack(features), labels=tuple(labels), photographs=np.array(owners))


def fit_samples(samples: Samples, real: Samples | None, config: ClassTraining, report: Callable[[str], None]) -> Head:
    """Fit a head without the held-out photographs, report its accuracy on them by class, and then fit one to all.

    The accuracy is computed as if all classes were equally frequent.
    """
    is_held_out = samples.photographs % HELD_OUT == HELD_OUT - 1
    if is_held_out.any():
        trial = _fit(_part(samples, ~is_held_out), real, replace(config, fit=replace(config.fit, networks=1)), report)
        flat = replace(trial, prior=np.ones_like(trial.prior))
        truth = np.array(_part(samples, is_held_out).labels)
        guess = np.array(trial.names)[flat.probabilities(samples.features[is_held_out]).argmax(axis=1)]
        by_class = ", ".join(
            f"{name} {np.mean(guess[truth == name] == name):.2f}" for name in trial.names if np.any(truth == name)
        )
        report(f"held-out synthetic samples: {np.mean(guess == truth):.3f} correct; {by_class}")
    return _fit(samples, real, config, report)


def _fit(samples: Samples, real: Samples | None, config: ClassTraining, report: Callable[[str], None]) -> Head:
    features, labels = samples.features, list(samples.labels)
    if real is not None:
        features = np.concatenate([features, *[real.features] * LABELLED_WEIGHT])
        labels += list(real.labels) * LABELLED_WEIGHT
    return fit_head(features, labels, PRIOR, replace(config.fit, seed=config.seed), report)


def _part(samples: Samples, mask: npt.NDArray[np.bool_]) -> Samples:
    return Samples(
        features=samples.features[mask],
        labels=tuple(label for label, is_kept in zip(samples.labels, mask, strict=True) if is_kept),
        photographs=samples.photographs[mask],
    )


def _describe_one(clean: tuple[Path, ...], count: int, seed: int, index: int, tell: Callable[[int], object]) -> Samples:
    opencv().setNumThreads(1)
    random = np.random.default_rng([seed, index])
    image, other = _read(clean[index]), _read(clean[int(random.integers(len(clean)))])
    names = [list(CLASSES)[int(number)] for number in random.choice(len(CLASSES), count, replace=False)]
    features = [describe(degrade(_cut(image, random), name, random, other=other)) for name in names]
    random = np.random.default_rng([seed, index, 1])
    features += [describe(degrade(_cut(image, random), name, random, other=other)) for name in EXTRA]
    labels = (*names, *EXTRA)
    return Samples(features=np.stack(features), labels=labels, photographs=np.full(len(labels), index))


def _cut(image: Image, random: np.random.Generator) -> Image:
    """Return a window of the photograph at a random size, mirrored in half of the cases."""
    height, width = image.shape[:2]
    share = random.uniform(0.55, 1)
    tall, wide = int(height * share), int(width * share * random.uniform(0.8, 1))
    top, left = int(random.integers(height - tall + 1)), int(random.integers(width - wide + 1))
    cut = image[top : top + tall, left : left + wide]
    cut = _at_most(cut, np.exp(random.uniform(*np.log(LONG_SIDES))))
    return np.ascontiguousarray(cut[:, ::-1]) if random.random() < 0.5 else np.ascontiguousarray(cut)


def _read(path: Path) -> Image:
    from PIL import Image as Pillow

    with Pillow.open(path) as file:
        file.draft("RGB", (DECODED, DECODED))  # a JPEG is reduced while it is decoded
        return _at_most(np.asarray(file.convert("RGB")), DECODED)


def _at_most(image: Image, long_side: float) -> Image:
    scale = long_side / max(image.shape[:2])
    if scale >= 1:
        return image
    cv2 = opencv()
    size = tuple(max(96, round(side * scale)) for side in (image.shape[1], image.shape[0]))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
