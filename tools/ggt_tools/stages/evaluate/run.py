"""Measure a model's outputs, and write the values and a contact sheet of the worst."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import ggt_format
from ggt_tools.errors import ConfigError
from ggt_tools.events import SILENT, Events
from ggt_tools.stages.evaluate import EvaluateConfig, Evaluation, draw_worst, evaluate, is_lower_better
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import write_whole

SAMPLE = "sample"  # names the release that ships with the package


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateResult:
    """What was measured, and the summary of the run."""

    evaluation: Evaluation
    summary: Summary

    def __str__(self) -> str:
        return str(self.summary)


def run(
    release: str | Path | None, outputs: str | Path, config: EvaluateConfig, *, events: Events = SILENT
) -> EvaluateResult:
    """Measure the outputs of a model, and write a JSON file and a contact sheet beside their folder.

    Args:
        release: Folder or fsspec URL of the release, or "sample"; None for the one that `load_dataset` finds.
        outputs: Folder with the model's images, each named by the key of its pair.
        config: What is measured, on which pairs, and which files are written.
        events: Told of progress, and of metrics, outputs and files that are left out.

    Returns:
        The values. The summary is failed where an output or a metric that was asked for is missing.

    Raises:
        ConfigError: There is no such folder or release, or no metric can be measured here.
    """
    folder = Path(outputs).resolve()
    # beside the folder and named after it: the folders of several models may have one parent
    out = config.out or folder.with_name(f"{folder.name}.evaluation.json")
    sheet = config.sheet or folder.with_name(f"{folder.name}.evaluation.png")
    for path in (out, sheet):
        if not path.parent.is_dir():
            raise ConfigError(f"{path}: its folder does not exist. Create the folder first.")
    is_sample = release is not None and str(release) == SAMPLE
    root = str(ggt_format.sample_folder() / "packed") if is_sample else ggt_format.locate(release).url
    pair_count = len(ggt_format.index(root, config.split, where=config.where, columns=["key"]))
    with events.progress("evaluate", pair_count) as progress:
        evaluation = evaluate(root, Path(outputs), config, progress=progress.advance)
    for warning in evaluation.warnings():
        events.warning(warning)
    sheet.unlink(missing_ok=True)  # one of an earlier run would show other outputs than the values beside it
    write_whole(out, (json.dumps(evaluation.json(), indent=1) + "\n").encode())
    paths = [str(out)]
    if evaluation.worst:
        file = io.BytesIO()
        draw_worst(root, Path(outputs), evaluation).save(file, "PNG")
        write_whole(sheet, file.getvalue())
        paths.append(str(sheet))
    return EvaluateResult(evaluation=evaluation, summary=_summary(evaluation, config, paths))


def _summary(evaluation: Evaluation, config: EvaluateConfig, paths: list[str]) -> Summary:
    notes = ["The values of the photographs themselves are in brackets."]
    for word, is_lower in (("Larger", False), ("Smaller", True)):
        if names := [metric for metric in evaluation.metrics if is_lower_better(metric) == is_lower]:
            notes.append(f"{word} values are better: {', '.join(names)}.")
    if len(paths) > 1:
        notes.append(f"{paths[0]}, and the worst by {evaluation.metrics[0]}: {paths[1]}")
    return Summary(
        stage="evaluate",
        counts={"measured": len(evaluation.values), "pairs": evaluation.pairs},
        reasons={"failed": Counter(reason for reason, _ in evaluation.faults.values())},
        notes=tuple(notes),
        paths=tuple(paths),
        is_failed=bool(evaluation.faults) or bool(config.metrics and evaluation.missing),
    )
