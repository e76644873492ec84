"""evaluate: a model's outputs against the ground truths of a split, by degradation.

    found = evaluate("/data/ggt-100k", Path("outputs"), EvaluateConfig(split="test"))
    print(found.table())

An output is an image in the folder that has its pair's key in its name, with no digit right before or after it:
KEY.png, KEY_out.png, predKEY.png. What is missing, of
another size, or no image is listed and counts for nothing; so does what two files may be. Full-reference metrics are
of output against gt, no-reference ones of the output alone. Beside each stands what the photograph itself has (`lq`):
a model that does nothing has the same.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

import ggt_format
from ggt_format.schema import Image
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files.folders import find_images, read_file
from ggt_tools.imaging.contact_sheet import contact_sheet
from ggt_tools.metrics import iqa
from ggt_tools.stages.ingest import decode

METRICS = ("psnr", "ssim", "lpips", "dists", "niqe", "piqe", "musiq")  # as the field reports them
# Every place where a key may begin: a word before or after it may end or begin as one does (`pred`, `fake`), and only
# the keys of the split count; a digit there makes it another number.
KEY = re.compile(r"(?<![0-9])(?=([0-9a-f]{16})(?![0-9]))")
RULE = "with no digit right before or after it"
ALL = "all"  # the row over all degradations: the mean of all outputs
MOST_PIXELS = 89_478_485


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """`metrics`: of pyiqa, by name; one that cannot be measured here is named, with what is missing."""

    split: str = "test"
    where: Mapping[str, Any] | None = None
    metrics: tuple[str, ...] = METRICS
    worst: int = 12  # outputs on the contact sheet
    iqa: iqa.IqaConfig = dataclasses.field(default_factory=iqa.IqaConfig)

    def __post_init__(self) -> None:
        for name in self.metrics:
            if name not in iqa.models():
                raise ConfigError(f"--metrics {name}: is no metric of pyiqa; the usual ones are {', '.join(METRICS)}")
        if not self.metrics:
            raise ConfigError("--metrics: name one or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What came of it. Values are means over the outputs that were measured; NaN where there is none."""

    split: str
    model: str  # the outputs' folder
    pairs: int  # of the split
    metrics: tuple[str, ...]
    missing: Mapping[str, str]  # by metric that could not be measured, why
    rows: Mapping[str, Mapping[str, Any]]  # by degradation, and ALL: `outputs`, and by metric `output` and `lq`
    values: Mapping[str, Mapping[str, float]]  # by key and metric, of the output
    faults: Mapping[
        str, tuple[str, str]
    ]  # by key: stable reason (no_output, wrong_size, not_an_image, two_outputs), text
    unknown: tuple[str, ...]  # images whose names hold no key of the split
    passed_over: Mapping[str, int]  # what else the folder holds: the counts by kind and, of folders, their names
    worst: tuple[str, ...]  # keys, the worst first by the first metric that was measured

    def table(self) -> list[tuple[str, ...]]:
        """Its first row names the columns; the photographs' own value stands in brackets."""
        first = ("degradation", "outputs", *self.metrics)
        rows = []
        for name, row in self.rows.items():
            cells = (_cell(row[metric]["output"], row[metric]["lq"]) for metric in self.metrics)
            rows.append((name, str(row["outputs"]), *cells))
        return [first, *rows]

    def json(self) -> dict[str, Any]:
        """All of it as JSON has it: null where nothing was measured."""
        found = dataclasses.asdict(self) | {
            "faults": {k: {"reason": r, "detail": t} for k, (r, t) in self.faults.items()}
        }
        return {name: _nulls(value) for name, value in found.items()}


def lower_better(metric: str) -> bool:
    return iqa.models()[metric][1]


def evaluate(
    root: str | Path,
    outputs: Path,
    config: EvaluateConfig | None = None,
    *,
    progress: Callable[[int], object] = lambda done: None,
) -> Evaluated:
    """Measures every output of the split that is there. Raises ConfigError before the first: no such folder, release or
    metric, or none that can be measured here."""
    config = config or EvaluateConfig()
    pairs = ggt_format.PairDataset(root, config.split, where=config.where)
    keys = [
        str(key) for key in ggt_format.index(root, config.split, where=config.where, columns=["key"])["key"].to_pylist()
    ]
    files, faults, unknown = find(outputs, keys)
    values: dict[str, dict[str, float]] = {}
    rows: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    with _models(config) as models:
        missing = {name: why for name in config.metrics if (why := iqa.missing(name) or models.faults.get(name, ""))}
        metrics = tuple(name for name in config.metrics if name not in missing)
        if not metrics:
            raise ConfigError(f"metric {config.metrics[0]!r} cannot be measured: {missing[config.metrics[0]]}")
        for number, key in enumerate(keys):
            if key in files:
                item = pairs[number]
                try:
                    output = _read(files[key], item["gt"].shape)
                    # a model takes (what it is held against, what is judged)
                    of_output, of_lq = (
                        {name: each[0] for name, each in models.measure([(item["gt"], judged)], metrics).items()}
                        for judged in (output, item["lq"])
                    )
                except PairError as fault:
                    faults[key] = fault.reason, str(fault)
                else:
                    values[key] = of_output
                    for name in metrics:
                        for row in (item["degradation"], ALL):
                            rows[row][name].append((of_output[name], of_lq[name]))
            progress(1)
    return Evaluated(
        split=config.split,
        model=str(outputs),
        pairs=len(keys),
        metrics=metrics,
        missing=missing,
        rows={name: _means(rows[name], metrics) for name in (*sorted(rows.keys() - {ALL}), ALL)},
        values=values,
        faults=dict(sorted(faults.items())),
        unknown=unknown,
        passed_over=dict(sorted(find_images(outputs).passed_over.lines().items())),
        worst=_worst(values, metrics)[: config.worst],
    )


def find(outputs: Path, keys: Sequence[str]) -> tuple[dict[str, Path], dict[str, tuple[str, str]], tuple[str, ...]]:
    """The file of each key; why the others have none; and images that are of no key."""
    if not outputs.is_dir():
        raise ConfigError(
            f"{outputs}: is no folder; name the one that holds the model's outputs, each named by its key"
        )
    known, found, unknown = set(keys), defaultdict(list), []
    for path in find_images(outputs).paths:
        named = {key for key in KEY.findall(path.stem.lower()) if key in known}
        if len(named) == 1:
            found[named.pop()].append(path)
        else:
            unknown.append(path.relative_to(outputs).as_posix())
    faults = {}
    for key in keys:
        if len(found[key]) > 1:
            names = ", ".join(path.relative_to(outputs).as_posix() for path in found[key][:3])
            faults[key] = "two_outputs", f"{key}: {names} may be its output; leave one"
        elif not found[key]:
            faults[key] = "no_output", f"{key}: no image in {outputs} has it in its name, {RULE}"
    return {key: paths[0] for key, paths in found.items() if len(paths) == 1}, faults, tuple(unknown)


def sheet(root: str | Path, outputs: Path, found: Evaluated) -> Pillow.Image:
    """The contact sheet of the worst: each output beside its ground truth, with its values."""
    keys = {key: number for number, key in enumerate(found.worst)}
    files, _, _ = find(outputs, found.worst)
    items = {}
    for row in ggt_format.PairDataset(root, found.split, where={"key": list(found.worst)}, columns=["restorer"]):
        output = Pillow.fromarray(_read(files[row["key"]], row["gt"].shape))
        shown = {"lq": output, "gt": Pillow.fromarray(row["gt"])}
        items[keys[row["key"]]] = row | shown | {"scores": found.values[row["key"]]}
    return contact_sheet([items[number] for number in sorted(items)], "output | gt")


def _models(config: EvaluateConfig) -> iqa.Models:
    return iqa.Models([name for name in config.metrics if not iqa.missing(name)], config.iqa, strict=False)


def _read(path: Path, shape: tuple[int, ...]) -> Image:
    pixels: Image = np.asarray(decode(read_file(path, str(path)), str(path), MOST_PIXELS))
    if pixels.shape != shape:
        sizes = " and ".join(f"{one[1]} x {one[0]}" for one in (pixels.shape, shape))
        raise PairError("wrong_size", f"{path}: it and its ground truth are {sizes}; write it in the same size")
    return pixels


def _means(values: Mapping[str, Sequence[tuple[float, float]]], metrics: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"outputs": max((len(each) for each in values.values()), default=0)}
    for name in metrics:
        pairs = [pair for pair in values.get(name, ()) if not any(map(math.isnan, pair))]
        output, lq = np.mean(pairs, axis=0) if pairs else (math.nan, math.nan)
        found[name] = {"output": float(output), "lq": float(lq)}
    return found


def _worst(values: Mapping[str, Mapping[str, float]], metrics: Sequence[str]) -> tuple[str, ...]:
    sign = -1.0 if lower_better(metrics[0]) else 1.0
    known = [(sign * of[metrics[0]], key) for key, of in values.items() if not math.isnan(of[metrics[0]])]
    return tuple(key for _, key in sorted(known))


def _cell(output: float, lq: float) -> str:
    return "-" if math.isnan(output) else f"{output:.3f} ({lq:.3f})"


def _nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _nulls(each) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [_nulls(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def lines(found: Evaluated) -> Iterator[str]:
    """What is to be said of it besides the table."""
    for name, why in found.missing.items():
        yield f"{name} was not measured: {why}"
    for _, text in found.faults.values():
        yield text
    for kind, number in found.passed_over.items():
        yield f"{found.model}: passed over: {number} {kind}"
    for name in found.unknown:
        yield f"{name}: its name holds not one key of the split {found.split}, {RULE}; name it KEY.png"
