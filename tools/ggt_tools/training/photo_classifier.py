"""Train the classifier of photographs: synthetic degradations of clean photographs, and real ones that are labelled.

    train_classes([clean_folder], labelled_folder, out, ClassTraining(), print)

One run makes the samples, describes each by features.py, fits the head and writes it. Torch is not needed: the network
below the features stays as it is.
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
SHORT_SIDE = 256  # pixels: smaller photographs are left out
DECODED = 1280  # pixels: the long side of a photograph in memory
LONG_SIDES = (220.0, 700.0)  # pixels: of a sample
LABELLED_SIZES = (400, 800)  # pixels: the long sides at which a labelled photograph is described
LABELLED_WEIGHT = 3  # a labelled photograph counts as often as so many synthetic ones
EXTRA = ("rain", "snow", "raindrop")  # every photograph gives one more sample of each: they vary most
HELD_OUT = 10  # each tenth photograph is not fitted to: it gives the accuracy that is reported
PRIOR = {  # how often each class is expected; ours
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
            raise ConfigError(f"train-classes: --samples {self.samples}: is not between 1 and {len(CLASSES)}.")
        if self.workers < 1:
            raise ConfigError(f"train-classes: --workers {self.workers}: is not at least 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Described samples.

    Attributes:
        features: (n, features) as `describe` returns them.
        labels: (n,) classes.
        photographs: (n,) number of the photograph that each sample was made of; -1 for labelled photographs.
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
        labelled: A folder with a folder for each class, of real photographs that show it; may be None.
        out: The head file to write.
        config: Number of samples, of processes, and the fit.
        report: Receives lines of progress and the accuracy on held-out photographs.

    Raises:
        ConfigError: fewer than HELD_OUT clean photographs, or a labelled folder that is no class.
    """
    clean = find_photographs(folders)
    if len(clean) < HELD_OUT:
        raise ConfigError(
            f"{', '.join(map(str, folders))}: {len(clean)} photographs of {SHORT_SIDE} px a side or more are too few. "
            f"Put at least {HELD_OUT} there."
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
    """Degrade and describe each photograph; the same whatever the number of workers."""
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
    """Describe real photographs, each at LABELLED_SIZES; the folder's name is the class."""
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
        raise ConfigError(f"{folder}: holds no photographs in folders with names of classes. Put some there.")
    return Samples(features=np.stack(features), labels=tuple(labels), photographs=np.array(owners))


def fit_samples(samples: Samples, real: Samples | None, config: ClassTraining, report: Callable[[str], None]) -> Head:
    """Fit a head without the held-out photographs, report its accuracy on them by class, then fit one to everything.

    The accuracy is told as if all classes were as frequent.
    """
    held = samples.photographs % HELD_OUT == HELD_OUT - 1
    if held.any():
        tried = _fit(_part(samples, ~held), real, replace(config, fit=replace(config.fit, networks=1)), report)
        flat = replace(tried, prior=np.ones_like(tried.prior))
        truth = np.array(_part(samples, held).labels)
        guess = np.array(tried.names)[flat.probabilities(samples.features[held]).argmax(axis=1)]
        by_class = ", ".join(
            f"{name} {np.mean(guess[truth == name] == name):.2f}" for name in tried.names if np.any(truth == name)
        )
        report(f"held-out synthetic samples: {np.mean(guess == truth):.3f} right; {by_class}")
    return _fit(samples, real, config, report)


def _fit(samples: Samples, real: Samples | None, config: ClassTraining, report: Callable[[str], None]) -> Head:
    features, labels = samples.features, list(samples.labels)
    if real is not None:
        features = np.concatenate([features, *[real.features] * LABELLED_WEIGHT])
        labels += list(real.labels) * LABELLED_WEIGHT
    return fit_head(features, labels, PRIOR, replace(config.fit, seed=config.seed), report)


def _part(samples: Samples, which: npt.NDArray[np.bool_]) -> Samples:
    return Samples(
        features=samples.features[which],
        labels=tuple(label for label, taken in zip(samples.labels, which, strict=True) if taken),
        photographs=samples.photographs[which],
    )


def _describe_one(clean: tuple[Path, ...], count: int, seed: int, index: int, tell: Callable[[int], object]) -> Samples:
    opencv().setNumThreads(1)
    random = np.random.default_rng([seed, index])
    image, other = _read(clean[index]), _read(clean[int(random.integers(len(clean)))])
    names = [list(CLASSES)[int(at)] for at in random.choice(len(CLASSES), count, replace=False)]
    features = [describe(degrade(_cut(image, random), name, random, other=other)) for name in names]
    random = np.random.default_rng([seed, index, 1])
    features += [describe(degrade(_cut(image, random), name, random, other=other)) for name in EXTRA]
    labels = (*names, *EXTRA)
    return Samples(features=np.stack(features), labels=labels, photographs=np.full(len(labels), index))


def _cut(image: Image, random: np.random.Generator) -> Image:
    """A window of the photograph, at a random size, mirrored in half of the cases."""
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
