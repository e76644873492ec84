"""evaluate: measure a model's outputs against the ground truths of a split, by degradation.

    evaluation = evaluate("/data/ggt-100k", Path("outputs"), EvaluateConfig(split="test"))
    print(evaluation.table())

An output is an image in the folder whose name holds the key of its pair, with no digit right before or after the key:
KEY.png, KEY_out.png, predKEY.png. An output that is missing, has another size, is not an image, or is ambiguous is
listed with a reason and not measured. Full-reference metrics compare the output with gt; no-reference metrics judge the
output alone. Beside each value stands the value of the photograph itself (`lq`), which is the value of a model that
changes nothing.

    compare.py    differences between models, with intervals
    df_score.py   D-Score, F-Score and DF-Score, from the scores that a vision-language model has given
    fs_score.py   FS of RealIR-Bench, from the scores that a vision-language model has given
    page.py       a page of the worst outputs, under sliders
    tables.py     tables in Markdown and LaTeX
    outputs.py    the output of each pair, found by its name
    run.py        the command
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

import ggt_format
from ggt_format.schema import Image
from ggt_tools.configs import check_minimum
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files.folders import find_images
from ggt_tools.imaging.contact_sheet import Tile, contact_sheet
from ggt_tools.metrics import iqa
from ggt_tools.metrics.y_channel import Y_METRICS
from ggt_tools.stages.evaluate.df_score import DF_METRICS, UNCHANGED, read_df_scores
from ggt_tools.stages.evaluate.fs_score import FS_METRICS, FS_UNCHANGED, read_fs_scores
from ggt_tools.stages.evaluate.outputs import NAMING_RULE, Fault, find_outputs, read_output
from ggt_tools.stages.evaluate.tables import check_table_path

METRICS = ("psnr", "ssim", "lpips", "dists", "niqe", "piqe", "musiq")  # those that papers usually report
ALL = "all"  # the row over all degradations: the mean of all outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """What is measured, and on which pairs.

    Attributes:
        split: Split whose pairs the outputs are compared with.
        where: Conditions on the pairs, as `ggt100k.PairDataset` takes them; None for all pairs.
        metrics: Names of pyiqa metrics, or of `Y_METRICS`; () for `METRICS`. One of those may be impossible to measure
            here.
        crop_border: Number of pixels that are left out at each edge of the images before they are measured.
        df_scores: File with the D and F of the outputs, as `read_df_scores` reads it; None for no DF-Score.
        fs_scores: File with the gain and LPIPS of the outputs, as `read_fs_scores` reads it; None for no FS.
        worst: Number of outputs on the contact sheet and the page; 0 for no sheet.
        device: Device of metrics with models, as torch names it; "auto" for cuda where there is one.
        weights: Folder with downloaded weights; None for torch's cache.
        out: JSON file to write; None for OUTPUTS.evaluation.json beside the folder of outputs.
        sheet: Contact sheet to write; None for OUTPUTS.evaluation.png beside the folder of outputs.
        page: HTML page of the worst outputs to write; None for no page.
        table: File for the table, in Markdown (.md) or LaTeX (.tex); None for no file.
    """

    split: str = "test"
    where: Mapping[str, Any] | None = None
    metrics: tuple[str, ...] = ()
    crop_border: int = 0
    df_scores: Path | None = None
    fs_scores: Path | None = None
    worst: int = 12
    device: str = "auto"
    weights: Path | None = None
    out: Path | None = None
    sheet: Path | None = None
    page: Path | None = None
    table: Path | None = None

    def __post_init__(self) -> None:
        for name in self.metrics:
            if name not in iqa.models() and name not in Y_METRICS:
                raise ConfigError(
                    f"--metrics {name}: is not a metric of pyiqa. The usual metrics are "
                    f"{', '.join((*METRICS, *Y_METRICS))}."
                )
        if self.crop_border < 0:
            raise ConfigError(f"--crop-border {self.crop_border}: is below 0. Give a number of pixels.")
        check_minimum("worst", self.worst, 0)
        if self.table is not None:
            check_table_path(self.table)

    @property
    def metric_names(self) -> tuple[str, ...]:
        return self.metrics or METRICS


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was measured. Values are means over the outputs that were measured; NaN where there is none.

    Attributes:
        split: The split.
        model: Folder of the outputs.
        pairs: Number of pairs that were selected.
        metrics: Metrics that were measured.
        missing: By metric that could not be measured: why.
        rows: By degradation, and `ALL`: the number of `outputs`, and by metric the values of `output` and `lq`.
        values: By key and metric: the value of the output.
        faults: By key of a pair without a value: reason and message.
        unknown: Images whose names hold no key of the split.
        passed_over: Numbers of other things in the folder, by kind; folders by name.
        worst: Keys, the worst output first, by the first metric that was measured.
    """

    split: str
    model: str
    pairs: int
    metrics: tuple[str, ...]
    missing: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Any]]
    values: Mapping[str, Mapping[str, float]]
    faults: Mapping[str, Fault]
    unknown: tuple[str, ...]
    passed_over: Mapping[str, int]
    worst: tuple[str, ...]

    def table(self) -> list[tuple[str, ...]]:
        """Return the rows as texts, the names of the columns first; the photographs' own value is in brackets."""
        rows = []
        for name, row in self.rows.items():
            cells = (_cell(row[metric]["output"], row[metric]["lq"]) for metric in self.metrics)
            rows.append((name, str(row["outputs"]), *cells))
        return [("degradation", "outputs", *self.metrics), *rows]

    def json(self) -> dict[str, Any]:
        """Return all fields as JSON has them: null where nothing was measured."""
        faults = {key: {"reason": reason, "detail": message} for key, (reason, message) in self.faults.items()}
        return {name: _without_nan(value) for name, value in (dataclasses.asdict(self) | {"faults": faults}).items()}

    def warnings(self) -> Iterator[str]:
        """Yield what the table does not show: metrics, outputs and files that were left out."""
        for name, why in self.missing.items():
            yield f"{name} was not measured: {why}"
        if missing := [key for key, scores in self.values.items() if math.isnan(scores.get("df_score", 0.0))]:
            yield (
                f"{self.model}: {len(missing)} of {len(self.values)} outputs have no D and F, the first is "
                f"{missing[0]}. Let the evaluator score them too."
            )
        if missing := [key for key, scores in self.values.items() if math.isnan(scores.get("fs", 0.0))]:
            yield (
                f"{self.model}: {len(missing)} of {len(self.values)} outputs have no gain and LPIPS for FS, the first "
                f"is {missing[0]}. Let the evaluator score them too."
            )
        for _, message in self.faults.values():
            yield message
        for kind, number in self.passed_over.items():
            yield f"{self.model}: passed over: {number} {kind}"
        for name in self.unknown:
            yield (
                f"{name}: its name does not hold exactly one key of the split {self.split}, {NAMING_RULE}. "
                "Name it KEY.png."
            )


def is_lower_better(metric: str) -> bool:
    """Return whether a smaller value of a metric means a better image."""
    if metric in FS_METRICS:
        return metric == "fs_lpips"
    return metric not in Y_METRICS and metric not in DF_METRICS and iqa.models()[metric][1]


def evaluate(
    root: str | Path,
    outputs: Path,
    config: EvaluateConfig | None = None,
    *,
    progress: Callable[[int], object] = lambda count: None,
) -> Evaluation:
    """Measure every output of a split.

    Args:
        root: Folder or fsspec URL of the release.
        outputs: Folder with the images that the model made.
        config: What is measured, and on which pairs.
        progress: Called with the number of pairs that were done since the last call.

    Raises:
        ConfigError: There is no such folder or release, or no metric can be measured here.
    """
    config = config or EvaluateConfig()
    pairs = ggt_format.PairDataset(root, config.split, where=config.where)
    keys = _keys(root, config)
    files, faults, unknown = find_outputs(outputs, keys)
    judged, unjudged, unchanged = _read_judged(config, keys)
    values: dict[str, dict[str, float]] = {}
    rows: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    with _models(config) as models:
        iqa_names = [name for name in config.metric_names if name not in Y_METRICS]
        missing = {n: why for n in iqa_names if (why := iqa.explain_missing(n) or models.faults.get(n, ""))}
        measured = tuple(name for name in config.metric_names if name not in missing)
        if not measured:
            first = config.metric_names[0]
            raise ConfigError(f"none of the metrics can be measured here. {first}: {missing[first]}")
        metrics = (*measured, *unjudged)
        for number, key in enumerate(keys):
            if key in files:
                try:
                    degradation, of_output, of_lq = _measure(
                        models, measured, pairs[number], files[key], config.crop_border
                    )
                except PairError as fault:
                    faults[key] = fault.reason, str(fault)
                else:
                    of_output |= unjudged | judged.get(key, {})
                    of_lq |= unchanged
                    values[key] = of_output
                    for name in metrics:
                        for row in (degradation, ALL):
                            rows[row][name].append((of_output[name], of_lq[name]))
            progress(1)
    return Evaluation(
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
        worst=_worst_first(values, metrics[0])[: config.worst],
    )


def _read_judged(
    config: EvaluateConfig, keys: Sequence[str]
) -> tuple[dict[str, dict[str, float]], dict[str, float], dict[str, float]]:
    """Return what evaluators gave each output, what an output without it has, and what a copy of the LQ image has."""
    judged: dict[str, dict[str, float]] = defaultdict(dict)
    unchanged: dict[str, float] = {}
    for path, read, of_copy in (
        (config.df_scores, read_df_scores, UNCHANGED),
        (config.fs_scores, read_fs_scores, FS_UNCHANGED),
    ):
        if path is not None:
            unchanged |= of_copy
            for key, scores in read(path, keys).items():
                judged[key] |= scores
    return judged, dict.fromkeys(unchanged, math.nan), unchanged


def _keys(root: str | Path, config: EvaluateConfig) -> list[str]:
    table = ggt_format.index(root, config.split, where=config.where, columns=["key"])
    return [str(key) for key in table["key"].to_pylist()]


def _measure(
    models: iqa.Models, metrics: Sequence[str], pair: Mapping[str, Any], file: Path, crop_border: int
) -> tuple[str, dict[str, float], dict[str, float]]:
    """Return the degradation of a pair, and the metrics of its output and of its lq.

    Raises:
        PairError: The output cannot be compared.
        ConfigError: Nothing is left of the images without their border.
    """
    output = read_output(file, pair["gt"].shape)
    if min(output.shape[:2]) <= 2 * crop_border:
        raise ConfigError(
            f"--crop-border {crop_border}: key {pair['key']}: nothing is left of {output.shape[1]} x {output.shape[0]} "
            "pixels. Give a smaller border."
        )
    gt, lq, output = (_without_border(image, crop_border) for image in (pair["gt"], pair["lq"], output))
    iqa_names = [name for name in metrics if name not in Y_METRICS]
    of_output, of_lq = (
        {name: values[0] for name, values in models.measure([(gt, judged)], iqa_names).items()}
        | {name: Y_METRICS[name](gt, judged) for name in metrics if name in Y_METRICS}
        for judged in (output, lq)
    )
    return str(pair["degradation"]), of_output, of_lq


def _without_border(image: Image, border: int) -> Image:
    height, width = image.shape[:2]
    return np.ascontiguousarray(image[border : height - border, border : width - border])


def draw_worst(root: str | Path, outputs: Path, evaluation: Evaluation) -> Pillow.Image:
    """Draw a contact sheet of the worst outputs: each beside its ground truth, with its values."""
    order = {key: number for number, key in enumerate(evaluation.worst)}
    files, _, _ = find_outputs(outputs, evaluation.worst)
    where = {"key": list(evaluation.worst)}
    tiles = {}
    for pair in ggt_format.PairDataset(root, evaluation.split, where=where):
        values = evaluation.values[pair["key"]]
        tiles[order[pair["key"]]] = Tile(
            lq=Pillow.fromarray(read_output(files[pair["key"]], pair["gt"].shape)),
            gt=Pillow.fromarray(pair["gt"]),
            heading=f"{order[pair['key']] + 1}. {pair['degradation'].replace('_', ' ')}",
            numbers=[f"{metric} {value:.3g}" for metric, value in values.items() if not math.isnan(value)],
            note=pair["key"],
        )
    return contact_sheet(
        [tiles[number] for number in sorted(tiles)], title="The worst outputs", sides="left: output, right: GT"
    )


def _models(config: EvaluateConfig) -> iqa.Models:
    names = [name for name in config.metric_names if name not in Y_METRICS and not iqa.explain_missing(name)]
    return iqa.Models(names, iqa.IqaConfig(device=config.device, weights=config.weights), strict=False)


def _means(values: Mapping[str, Sequence[tuple[float, float]]], metrics: Sequence[str]) -> dict[str, Any]:
    """Return a row of `Evaluation.rows`. `values` has by metric the values of each output and its lq."""
    row: dict[str, Any] = {"outputs": max(map(len, values.values()), default=0)}
    for name in metrics:
        measured = [pair for pair in values.get(name, ()) if not any(map(math.isnan, pair))]
        output, lq = np.mean(measured, axis=0) if measured else (math.nan, math.nan)
        row[name] = {"output": float(output), "lq": float(lq)}
    return row


def _worst_first(values: Mapping[str, Mapping[str, float]], metric: str) -> tuple[str, ...]:
    sign = -1.0 if is_lower_better(metric) else 1.0
    measured = [(sign * scores[metric], key) for key, scores in values.items() if not math.isnan(scores[metric])]
    return tuple(key for _, key in sorted(measured))


def _cell(output: float, lq: float) -> str:
    return "-" if math.isnan(output) else f"{output:.3f} ({lq:.3f})"


def _without_nan(value: Any) -> Any:
    """Return a value with None in place of each number that is not finite."""
    if isinstance(value, Mapping):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
