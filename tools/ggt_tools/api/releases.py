"""Functions for releases: validate, view, card, push, diff, export, evaluate, compare_models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggt_tools.api.facts import checked_events
from ggt_tools.configs import build, convert
from ggt_tools.events import Events
from ggt_tools.executors import LOCAL, ExecutorConfig
from ggt_tools.summary import Summary

if TYPE_CHECKING:
    from ggt_tools.stages.diff.run import DiffResult
    from ggt_tools.stages.evaluate.run import ComparisonResult, EvaluateResult
    from ggt_tools.stages.validate.run import Validation


def validate(
    release: str | Path,
    *,
    quick: bool = False,
    against: str | Path | None = None,
    findings: str | Path | None = None,
    tasks: str | Path = "",
    preview: str | Path | None = None,
    executor: ExecutorConfig = LOCAL,
    events: Events | None = None,
) -> Validation:
    """Check a release against the format. Nothing is repaired.

    Args:
        release: Folder or fsspec URL of the release.
        quick: Leave out checksums and pixels; check sizes, names and texts.
        against: Workspace whose ledger every fact is compared with; None for none.
        findings: File to write the findings to, as JSON lines; None for none.
        tasks: Folder or fsspec URL where tasks on a cluster leave their findings, which every node can write; "" for
            RELEASE.tasks.
        preview: Folder of a preview that is compared with the release; None for none.
        executor: Where the shards are read.
        events: Where progress is reported; None for a progress bar.

    Returns:
        The findings, and a summary. `Validation.is_valid` is true if there are no findings.
    """
    from ggt_tools.stages.validate.run import ValidateConfig, run

    config = build(
        ValidateConfig,
        quick=quick,
        against=against,
        findings=findings,
        tasks=tasks,
        preview=preview,
    )
    return run(
        convert("release", release, str),
        config,
        executor=convert("executor", executor, ExecutorConfig),
        events=checked_events(events),
    )


def view(
    release: str | Path,
    *,
    revision: str = "",
    query: str = "",
    host: str = "127.0.0.1",
    port: int = 8643,
    names: Sequence[str] = (),
    on_ready: Callable[[str], object] = print,
    events: Events | None = None,
) -> Summary:
    """Serve a local page on which to look at a release, until it is interrupted. Nothing is changed.

    To serve it from a thread of your own, use `ggt_tools.viewing.View`.

    Args:
        release: Folder or fsspec URL of the release, or "sample".
        revision: Tag or commit of a repository on the Hub; "" for what the URL names.
        query: Query of a link that was shared, so that its filter is shown first; "" for none.
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        names: Further host names by which the page is reached.
        on_ready: Called with the URL of the page, which holds a secret token, once it can be opened.
        events: Receives a warning if other machines can reach the page; None for progress bars.
    """
    from ggt_tools.viewing.serve import ViewConfig, run

    config = build(ViewConfig, revision=revision, query=query, host=host, port=port, names=names)
    return run(convert("release", release, str), config, on_ready=on_ready, events=checked_events(events))


def diff(
    before: str | Path,
    after: str | Path,
    *,
    repo: str = "",
    changelog: str | Path | None = None,
    sheet: str | Path | None = None,
    max_pairs: int = 24,
    events: Events | None = None,
) -> DiffResult:
    """Compare two versions of a release, and write the change log entry.

    Args:
        before: The earlier version: a folder or fsspec URL or, with `repo`, a tag or commit.
        after: The later version, named in the same way.
        repo: Repository on the Hub in which tags and commits are looked up, as ORG/ggt-100k; "" for none.
        changelog: Change log to which the entry is added; None to write none.
        sheet: PNG file for a contact sheet of the pairs that differ; None to draw none.
        max_pairs: Largest number of pairs on the contact sheet.
        events: Where progress is reported; None for progress bars.
    """
    from ggt_tools.stages.diff.run import DiffConfig, run

    config = build(
        DiffConfig,
        repo=repo,
        changelog=changelog,
        sheet=sheet,
        max_pairs=max_pairs,
    )
    return run(convert("before", before, str), convert("after", after, str), config, events=checked_events(events))


def export(
    release: str | Path,
    out: str | Path,
    to: str,
    *,
    where: Mapping[str, Any] | None = None,
    splits: Sequence[str] = (),
    file_bytes: int = 500_000_000,
    prompt: str = "own",
    prompt_texts: Mapping[str, str] | None = None,
    dry_run: bool = False,
    events: Events | None = None,
) -> Summary:
    """Write the pairs of a release in the layout of other training code.

    Args:
        release: Folder or fsspec URL of the release, or "sample".
        out: New folder, or one that an interrupted run of the same export has begun.
        to: Name of the layout, for example "basicsr".
        where: Conditions on the pairs, as `ggt100k.PairDataset` takes them; None for all pairs.
        splits: Splits to export; () for all that hold pairs.
        file_bytes: Largest size of a tar or parquet file, counted in bytes of images.
        prompt: Which prompts the layouts of edit trainers get: "own", "fixed" (one for each class) or "none".
        prompt_texts: By class of degradation: the fixed text; None for those of the verb prompt.
        dry_run: Only tell what would be done, in `Summary.plan`.
        events: Where progress is reported; None for progress bars.
    """
    from ggt_tools.stages.export import ExportConfig
    from ggt_tools.stages.export.run import run

    config = build(
        ExportConfig,
        to=to,
        where=where,
        splits=splits,
        file_bytes=file_bytes,
        prompt=prompt,
        prompt_texts={} if prompt_texts is None else prompt_texts,
        dry_run=dry_run,
    )
    return run(convert("release", release, str), convert("out", out, Path), config, events=checked_events(events))


def evaluate(
    outputs: str | Path,
    release: str | Path | None = None,
    *,
    split: str = "test",
    where: Mapping[str, Any] | None = None,
    metrics: Sequence[str] = (),
    crop_border: int = 0,
    df_scores: str | Path | None = None,
    fs_scores: str | Path | None = None,
    out: str | Path | None = None,
    sheet: str | Path | None = None,
    page: str | Path | None = None,
    table: str | Path | None = None,
    worst: int = 12,
    device: str = "auto",
    weights: str | Path | None = None,
    events: Events | None = None,
) -> EvaluateResult:
    """Score a model's outputs against the ground truth of a split, by degradation.

    Args:
        outputs: Folder with the model's images, each named by the key of its pair.
        release: Folder or fsspec URL of the release, or "sample"; None for the one that `load_dataset` finds.
        split: Split whose pairs the outputs are compared with.
        where: Conditions on the pairs, as `ggt100k.PairDataset` takes them; None for all pairs.
        metrics: Names of pyiqa metrics, or "psnr_y" and "ssim_y" for the Y channel; () for the usual ones.
        crop_border: Number of pixels that are left out at each edge.
        df_scores: File with the D and F that a vision-language model gave to each output.
        fs_scores: File with the gain and LPIPS of each output by RealIR-Bench's evaluator.
        out: JSON file to write; None for OUTPUTS.evaluation.json beside the folder of outputs.
        sheet: Contact sheet to write; None for OUTPUTS.evaluation.png beside the folder of outputs.
        page: HTML page to write that shows the worst outputs under sliders; None for no page.
        table: File for the table, in Markdown (.md) or LaTeX (.tex).
        worst: Number of outputs on the contact sheet and the page; 0 for no sheet.
        device: Device of metrics with models, as torch names it; "auto" for cuda where there is one.
        weights: Folder with downloaded weights; None for torch's cache.
        events: Where progress is reported; None for progress bars.
    """
    from ggt_tools.stages.evaluate import EvaluateConfig
    from ggt_tools.stages.evaluate.run import run

    config = build(
        EvaluateConfig,
        split=split,
        where=where,
        metrics=metrics,
        crop_border=crop_border,
        df_scores=df_scores,
        fs_scores=fs_scores,
        out=out,
        sheet=sheet,
        page=page,
        table=table,
        worst=worst,
        device=device,
        weights=weights,
    )
    folder = convert("outputs", outputs, Path)
    return run(convert("release", release, str | None), folder, config, events=checked_events(events))


def compare_models(
    outputs: Sequence[str | Path],
    release: str | Path | None = None,
    *,
    split: str = "test",
    where: Mapping[str, Any] | None = None,
    metrics: Sequence[str] = (),
    crop_border: int = 0,
    table: str | Path | None = None,
    worst: int = 12,
    device: str = "auto",
    weights: str | Path | None = None,
    events: Events | None = None,
) -> ComparisonResult:
    """Score the outputs of several models as `evaluate` does, and compare each model with the first.

    Args:
        outputs: Folders with the models' images, at least two with different names.
        release: As for `evaluate`.
        split: As for `evaluate`.
        where: As for `evaluate`.
        metrics: As for `evaluate`.
        crop_border: As for `evaluate`.
        table: File for the tables of all models and the table of differences, in Markdown (.md) or LaTeX (.tex).
        worst: Number of outputs on the contact sheet of each model; 0 for no sheets.
        device: As for `evaluate`.
        weights: As for `evaluate`.
        events: As for `evaluate`.
    """
    from ggt_tools.stages.evaluate import EvaluateConfig
    from ggt_tools.stages.evaluate.run import run_comparison

    config = build(
        EvaluateConfig,
        split=split,
        where=where,
        metrics=metrics,
        crop_border=crop_border,
        table=table,
        worst=worst,
        device=device,
        weights=weights,
    )
    folders = convert("outputs", outputs, tuple[Path, ...])
    return run_comparison(convert("release", release, str | None), folders, config, events=checked_events(events))
