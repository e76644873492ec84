"""Measure a model's outputs, and write the values and a contact sheet of the worst."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import ggt_format
from ggt_tools.errors import ConfigError
from ggt_tools.events import SILENT, Events
from ggt_tools.files.outputs import check_output_file
from ggt_tools.stages.evaluate import EvaluateConfig, Evaluation, draw_worst, evaluate, is_lower_better
from ggt_tools.stages.evaluate.compare import Difference, compare, difference_table
from ggt_tools.stages.evaluate.page import worst_page
from ggt_tools.stages.evaluate.tables import write_tables
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
        events: Receives progress, and of metrics, outputs and files that are left out.

    Returns:
        The values. The summary is failed where an output or a metric that was asked for is missing.

    Raises:
        ConfigError: There is no such folder or release, or no metric can be measured here.
    """
    folder = Path(outputs).resolve()
    # beside the folder and named after it: the folders of several models may have one parent
    out = config.out or folder.with_name(f"{folder.name}.evaluation.json")
    sheet = config.sheet or folder.with_name(f"{folder.name}.evaluation.png")
    for path in (out, sheet, *([config.page] if config.page else [])):
        check_output_file(path)
    is_sample = release is not None and str(release) == SAMPLE
    root = str(ggt_format.sample_folder() / "packed") if is_sample else ggt_format.locate(release).url
    pair_count = len(ggt_format.index(root, config.split, where=config.where, columns=["key"]))
    with events.progress("evaluate", pair_count) as progress:
        evaluation = evaluate(root, Path(outputs), config, progress=progress.advance)
    for warning in evaluation.warnings():
        events.warning(warning)
    sheet.unlink(missing_ok=True)  # one of an earlier run would show other outputs than the values beside it
    if config.table is not None:
        write_whole(config.table, write_tables(config.table, [(folder.name, evaluation.table())]))
    write_whole(out, (json.dumps(evaluation.json(), indent=1) + "\n").encode())
    paths = [str(out)]
    if evaluation.worst:
        file = io.BytesIO()
        draw_worst(root, Path(outputs), evaluation).save(file, "PNG")
        write_whole(sheet, file.getvalue())
        paths.append(str(sheet))
        if config.page is not None:
            write_whole(config.page, worst_page(root, Path(outputs), evaluation).encode())
            paths.append(str(config.page))
    return EvaluateResult(evaluation=evaluation, summary=_summary(evaluation, config, paths))


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonResult:
    """What was measured of each model, how each differs from the first, and the summary of the run.

    Attributes:
        evaluations: By name of the model's folder, in the order in which they were given.
        differences: One for each metric and each model but the first.
        summary: The sums over all models.
    """

    evaluations: Mapping[str, Evaluation]
    differences: tuple[Difference, ...]
    summary: Summary

    def table(self) -> list[tuple[str, ...]]:
        """Return the differences as texts, the names of the columns first."""
        return difference_table(self.differences)

    def __str__(self) -> str:
        return str(self.summary)


def run_comparison(
    release: str | Path | None, models: Sequence[str | Path], config: EvaluateConfig, *, events: Events = SILENT
) -> ComparisonResult:
    """Measure the outputs of several models, and compare each with the first on the pairs that both have.

    Each model gets its JSON file and contact sheet beside its folder. `config.table` gets the tables of all models and
    the table of differences.

    Args:
        release: Folder or fsspec URL of the release, or "sample"; None for the one that `load_dataset` finds.
        models: Folders with the models' images, at least two, each image named by the key of its pair.
        config: What is measured, and on which pairs.
        events: Receives progress, and of metrics, outputs and files that are left out.

    Raises:
        ConfigError: Two folders have one name, or an option is for one model alone; else as of `run`.
    """
    folders = [Path(model).resolve() for model in models]
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        raise ConfigError(f"--model {', '.join(map(str, models))}: two folders have one name. Rename one of them.")
    for option, value in (
        *(("--out", config.out), ("--sheet", config.sheet), ("--page", config.page)),
        *(("--df-scores", config.df_scores), ("--fs-scores", config.fs_scores)),
    ):
        if value is not None:
            raise ConfigError(f"{option} {value}: is for one model. Leave it out where you compare several.")
    results = [run(release, folder, replace(config, table=None), events=events) for folder in folders]
    evaluations = {name: result.evaluation for name, result in zip(names, results, strict=True)}
    metrics = [name for name in results[0].evaluation.metrics if all(name in e.metrics for e in evaluations.values())]
    differences = compare(
        [(name, evaluation.values) for name, evaluation in evaluations.items()],
        [(metric, is_lower_better(metric)) for metric in metrics],
    )
    if config.table is not None:
        tables = [(name, evaluation.table()) for name, evaluation in evaluations.items()]
        write_whole(config.table, write_tables(config.table, [*tables, ("Comparison", difference_table(differences))]))
    return ComparisonResult(
        evaluations=evaluations,
        differences=tuple(differences),
        summary=Summary(
            stage="evaluate",
            counts={
                "models": len(names),
                "measured": sum(result.summary.counts["measured"] for result in results),
                "pairs": results[0].evaluation.pairs,
            },
            notes=(
                "Differences are over the pairs that both models have; brackets hold the 95 % interval of the paired "
                "bootstrap.",
            ),
            paths=tuple(path for result in results for path in result.summary.paths),
            is_failed=any(result.summary.is_failed for result in results),
        ),
    )


def _summary(evaluation: Evaluation, config: EvaluateConfig, paths: list[str]) -> Summary:
    notes = ["The values of the photographs themselves are in brackets."]
    for word, is_lower in (("Larger", False), ("Smaller", True)):
        if names := [metric for metric in evaluation.metrics if is_lower_better(metric) == is_lower]:
            notes.append(f"{word} values are better: {', '.join(names)}.")
    if len(paths) > 1:
        notes.append(f"{paths[0]}, and the worst by {evaluation.metrics[0]}: {', '.join(paths[1:])}")
    return Summary(
        stage="evaluate",
        counts={"measured": len(evaluation.values), "pairs": evaluation.pairs},
        reasons={"failed": Counter(reason for reason, _ in evaluation.faults.values())},
        notes=tuple(notes),
        paths=tuple(paths),
        is_failed=bool(evaluation.faults) or bool(config.metrics and evaluation.missing),
    )
