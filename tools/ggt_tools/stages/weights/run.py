"""List, check and download the weights of metrics."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

from ggt_tools.errors import ConfigError
from ggt_tools.events import SILENT, Events
from ggt_tools.files.outputs import check_output_folder
from ggt_tools.metrics.iqa import weights
from ggt_tools.providers.download import download
from ggt_tools.stages.weights import FileState, check, unknown_models
from ggt_tools.summary import Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsConfig:
    """Whose weights, and where.

    Attributes:
        metrics: Names of metrics, or of sets of them. The set full is what the gate `full` asks for.
        folder: Folder of weights, as `score` takes it; None for torch's cache.
        fetch: Whether to download what is missing.
    """

    metrics: tuple[str, ...] = ("full",)
    folder: Path | None = None
    fetch: bool = False

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ConfigError("--metrics: names no metric. Name a set or a metric: --metrics full")


def run(config: WeightsConfig, *, events: Events = SILENT) -> Summary:
    """List the files that the metrics need, with source, licence and location; download missing ones if `fetch` is set.

    Args:
        config: Whose weights, and where.
        events: Receives the progress of downloads, and of files that cannot be downloaded.

    Returns:
        The counts, and the list as notes. It has failed if a file is missing or damaged at the end.

    Raises:
        ConfigError: A metric or set is not known.
    """
    states = check(config.metrics, config.folder)
    downloaded = 0
    if config.fetch:
        if config.folder is not None:
            check_output_folder(config.folder)
        downloaded = _fetch_missing(states, events)
        states = check(config.metrics, config.folder)
    counts = {state: sum(each.state == state for each in states) for state in ("present", "missing", "damaged")}
    if config.fetch:
        counts = {"downloaded": downloaded, **counts}
    is_complete = not counts["missing"] and not counts["damaged"]
    return Summary(
        stage="weights",
        counts=counts,
        notes=(*_notes(config, states), *(() if is_complete else _set_up(config, states))),
        is_failed=not is_complete,
    )


def _fetch_missing(states: list[FileState], events: Events) -> int:
    """Download the files that are missing or damaged; return how many came."""
    count = 0
    for state in states:
        file, path = state.file, state.path
        if state.state == "present" or path is None:
            continue
        with events.progress(file.name, file.size or None) as progress:
            try:
                download(file.url, path, sha256=file.sha256, hosts=file.hosts, progress=progress.advance)
            except ConfigError as error:
                events.warning(str(error))
                continue
        if file.revision:  # huggingface_hub finds a snapshot through this file
            reference = path.parents[2] / "refs" / "main"
            reference.parent.mkdir(parents=True, exist_ok=True)
            reference.write_text(file.revision, encoding="utf-8")
        count += 1
    return count


def _notes(config: WeightsConfig, states: list[FileState]) -> list[str]:
    """Return the list of the files, in lines."""
    pyiqa_licence = weights.pyiqa_licence()
    pyiqa = f"pyiqa {installed('pyiqa')}: licence {pyiqa_licence}" if pyiqa_licence else "pyiqa: not installed"
    lines = [pyiqa, f"folder: {config.folder or weights.default_folder()}"]
    for each in states:
        file = each.file
        lines += ["", f"{file.name}: {each.state}{f', {each.problem}' if each.problem else ''}"]
        lines += [f"  metrics  {', '.join(each.models)}"]
        lines += [f"  place    {each.path}" if each.path else f"  wheel    {file.package.partition(':')[0]}"]
        lines += [f"  file     {file.url}"] if file.url else []
        lines += [
            f"  source   {file.page}",
            f"  licence  {file.licence}",
            f"  size     {_size(file.size)}",
            f"  SHA-256  {_checksum(file.sha256)}",
        ]
    if models := unknown_models(config.metrics):
        lines += ["", f"the files of these models are not listed here: {', '.join(models)}"]
    return lines


def _set_up(config: WeightsConfig, states: list[FileState]) -> list[str]:
    """Return how to get what is missing, in lines."""
    lines = [""]
    if wheels := sorted(
        {each.file.package.partition(":")[0] for each in states if not each.path and each.state != "present"}
    ):
        lines.append(f"Install {', '.join(wheels)}: pip install 'ggt100k[quality]'")
    if any(each.path and each.state != "present" for each in states):
        metrics = ",".join(config.metrics)
        lines += [
            "Read the licences first. Nothing is downloaded without --fetch. On a machine with network access:",
            f"  ggt100k weights --metrics {metrics} --folder WEIGHTS --fetch",
            "Or download each file from its source to its place. Without network access: copy the folder WEIGHTS, then",
            f"  ggt100k weights --metrics {metrics} --folder WEIGHTS",
            f"  ggt100k score WORKSPACE --metrics {metrics} --weights WEIGHTS",
        ]
        lines += [
            f"For {each.file.name}, also write {each.file.revision} into the file "
            f"{each.path.parents[2] / 'refs' / 'main'}."
            for each in states
            if each.path and each.file.revision and each.state == "missing"
        ]
    return lines


def _size(size: int) -> str:
    if not size:
        return weights.NOT_KNOWN
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _checksum(sha256: str) -> str:
    if not sha256:
        return f"{weights.NOT_KNOWN}; --fetch compares what the Hub states"
    return sha256 if len(sha256) == 64 else f"{sha256}... (its first characters)"
