"""Import photographs into a workspace."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ggt_format.png import encode_png
from ggt_format.schema import SOURCES
from ggt_tools.choices import CLASS_METHODS, FITS
from ggt_tools.configs import check_choice
from ggt_tools.errors import ConfigError, check_limit
from ggt_tools.events import SILENT, Events, track
from ggt_tools.files.tars import TARS
from ggt_tools.policy.licences import licence_warning
from ggt_tools.providers.fetch import FetchConfig
from ggt_tools.providers.recording import lock_calls, write_off_calls
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.providers.vlm import vlm
from ggt_tools.records import Photo, Refusal
from ggt_tools.stages.ingest import (
    Classify,
    ImportedPhoto,
    PhotoOptions,
    classify_by_folder,
    classify_by_measuring,
    ingest,
)
from ggt_tools.stages.ingest.archives import ZIPS, from_tar, from_zip
from ggt_tools.stages.ingest.classes import ClassNamer
from ggt_tools.stages.ingest.earlier import EarlierRuns
from ggt_tools.stages.ingest.flags import flag_photos, open_checks
from ggt_tools.stages.ingest.hashes import known_hashes
from ggt_tools.stages.ingest.lists import LISTS, from_dataset, from_list
from ggt_tools.stages.ingest.sources import Source, from_folder
from ggt_tools.stages.ingest.vlm import VlmClasses, leave_class_open
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import Ledger
from ggt_tools.workspace.locks import IMPORT


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """Which photographs are imported, and how.

    Attributes:
        photos: Folder, tar, zip or list of URLs (.csv, .jsonl, .parquet); None with `dataset`.
        dataset: Name of a dataset on the Hub, in the place of `photos`; "" for none.
        column: Column of the dataset that holds the images.
        dataset_config: Configuration of the dataset; None for its only one.
        split: Split of the dataset.
        revision: Branch, tag or commit of the dataset; None for the main branch.
        licence: Licence as an SPDX identifier, where credits or list state none; "" to reject these photographs.
        source: Kind of source, one of `ggt_format.SOURCES`, where credits or list state none; "" for internet with a
            list, dataset with a dataset, and captured otherwise.
        source_name: Name of the source, for example of the collection; "" for the name of the dataset.
        classes: How the class of a photograph is found where nothing states it: `classifier`, `measured`, `folder` (by
            the name of its folder, or rejected) or `vlm`.
        vlm: Provider, or PROVIDER:MODEL, for `vlm`.
        service: How that model is called, and what that may cost.
        fit: How a photograph becomes at most 1024 x 1024: `crop`, `resize` or `pad`; see `crop.fit`.
        flags: Names of checks whose flags are stored for every photograph of the workspace: `faces`.
        flag_models: By name of a flag, the ONNX file of a model of the user's; see `flags.open_checks`.
        published: Folders or URLs of releases; photographs that resemble one in them are rejected.
        images: Folder or fsspec URL in which a new workspace stores its images; "" for the workspace itself.
        max_bytes: Size of a file that is fetched.
        fetch_timeout: Seconds after which the download of a file is given up.
        allow_private: Whether files are also fetched from private addresses.
        limit: Import at most this many photographs.
        dry_run: Only tell what would be done.
    """

    photos: Path | None = None
    dataset: str = ""
    column: str = "image"
    dataset_config: str | None = None
    split: str = "train"
    revision: str | None = None
    licence: str = ""
    source: str = ""
    source_name: str = ""
    classes: str = "classifier"
    vlm: str = "gemini"
    service: ServiceConfig = field(default_factory=ServiceConfig)
    fit: str = "crop"
    flags: tuple[str, ...] = ()
    flag_models: Mapping[str, str] = field(default_factory=dict)
    published: tuple[str, ...] = ()
    images: str = ""
    max_bytes: int = 50_000_000
    fetch_timeout: float = 60.0
    allow_private: bool = False
    limit: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_limit(self.limit)
        if self.dataset and self.photos is not None:
            raise ConfigError(
                f"{self.photos}: --dataset {self.dataset} takes the place of the photographs. Leave one of them out."
            )
        if not self.dataset and self.photos is None:
            raise ConfigError("photos: nothing is named to import. Name a folder, a tar, a zip, a list or a dataset.")
        check_choice("classes", self.classes, CLASS_METHODS)
        check_choice("source", self.source, ("", *SOURCES))
        check_choice("fit", self.fit, FITS)

    @property
    def is_list(self) -> bool:
        """Whether `photos` is a list of URLs."""
        return self.photos is not None and self.photos.name.lower().endswith(LISTS)

    @property
    def source_kind(self) -> str:
        """The kind of source where neither credits nor list state one."""
        return self.source or ("dataset" if self.dataset else "internet" if self.is_list else "captured")


def run(workspace: Path, config: IngestConfig, *, events: Events = SILENT) -> Summary:
    """Import the photographs that are not imported yet, and store pixels and facts; create the workspace if need be.

    A run that was stopped continues where it was. A photograph that is larger than a near duplicate imported before
    replaces it, as long as no other stage has worked on that.

    Args:
        workspace: Folder of the workspace.
        config: What to import.
        events: Receives progress, and of each file that is rejected.

    Returns:
        The counts imported, "already done" and "rejected earlier". The run is failed where there were files, and none
        of them is imported.

    Raises:
        ConfigError: The source cannot be read as a whole, or an option does not fit it.
    """
    namer = ClassNamer()
    classify: dict[str, Classify] = {
        "classifier": namer,
        "measured": classify_by_measuring,
        "folder": classify_by_folder,
        "vlm": leave_class_open,
    }
    options = PhotoOptions(
        licence=config.licence,
        source=config.source_kind,
        source_name=config.source_name or config.dataset,
        fit=config.fit,
        classify=classify[config.classes],
    )
    checks = open_checks(config.flags, config.flag_models)
    earlier = EarlierRuns(events, config.licence)
    if config.photos is not None and config.photos.resolve() == workspace.resolve():
        raise ConfigError(
            f"{workspace}: photographs and workspace are one folder. Name another folder for the workspace."
        )
    source = _open_source(config, earlier)  # raises before a workspace is created
    for fault in source.faults:
        events.warning(fault)
    if config.dry_run and not (workspace / "ledger.sqlite").exists():
        return _plan(source, source.count)
    if config.classes == "classifier" and namer.reason:
        events.warning(f"{namer.reason} Until then the class is measured.")
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(workspace, create=True, images=config.images))
        stack.enter_context(ledger.lock(IMPORT, dry_run=config.dry_run))
        earlier.read(ledger)
        if config.dry_run:
            return _plan(source, source.count if config.dataset else sum(1 for _ in earlier.new_files(source)))
        hashes = known_hashes(ledger, config.published, events)
        results = ingest(earlier.new_files(source), options, hashes)
        if config.classes == "vlm":
            stack.enter_context(lock_calls(ledger))
            write_off_calls(ledger, "ingest")
            model = vlm(config.vlm, config.service.setting())
            classes = VlmClasses(ledger=ledger, model=model, service=config.service, limit=config.limit, events=events)
            results = classes.name(results)
        imports = _Imports(ledger=ledger, namer=namer, events=events)
        imports.store_all(track(events, results, "ingest", source.count or None), config.limit)
        flag_count = flag_photos(ledger, checks, events) if checks else 0
    return _summary(source, earlier, imports, flag_count)


def _plan(source: Source, file_count: int) -> Summary:
    return Summary(
        stage="ingest",
        plan=(f"would look at {file_count or 'all'} files",),
        reasons={"passed over": source.passed_over.lines()},
    )


def _summary(source: Source, earlier: EarlierRuns, imports: _Imports, flag_count: int) -> Summary:
    counts = {"imported": imports.count, "already done": earlier.imported}
    if flag_count:
        counts["flags"] = flag_count
    if earlier.rejected:
        counts["rejected earlier"] = earlier.rejected
    rejected_count = imports.rejected.total() + earlier.rejected
    return Summary(
        stage="ingest",
        counts=counts,
        reasons={
            "rejected": imports.rejected,
            "converted": imports.converted,
            "passed over": source.passed_over.lines(),
        },
        is_failed=rejected_count > 0 and imports.count == 0 and earlier.imported == 0,
    )


def _open_source(config: IngestConfig, earlier: EarlierRuns) -> Source:
    """Open what is to be imported.

    Raises:
        ConfigError: It does not exist, is of no kind that ingest reads, or cannot be read as a whole.
    """
    path = config.photos
    if path is None:
        return from_dataset(
            config.dataset,
            config.column,
            config=config.dataset_config,
            split=config.split,
            revision=config.revision,
        )
    if path.is_file():
        name = path.name.lower()
        if name.endswith(TARS):
            return from_tar(path)
        if name.endswith(ZIPS):
            return from_zip(path)
        if config.is_list:
            fetching = FetchConfig(
                max_bytes=config.max_bytes, timeout=config.fetch_timeout, allow_private=config.allow_private
            )
            return from_list(path, fetching, earlier.is_known, has_licence=bool(config.licence), dry_run=config.dry_run)
        suffixes = ", ".join((*TARS, *ZIPS, *LISTS))
        raise ConfigError(
            f"{path}: ingest does not read a file of this kind. Name a folder, or a file that ends in {suffixes}."
        )
    if not path.is_dir():
        raise ConfigError(f"{path}: there is no such folder or file. Name the folder that holds the photographs.")
    return from_folder(path)


class _Imports:
    """Stores what ingest made of each file, and counts it."""

    def __init__(self, *, ledger: Ledger, namer: ClassNamer, events: Events) -> None:
        self.count = 0
        self.rejected: Counter[str] = Counter()
        self.converted: Counter[str] = Counter()
        self._ledger, self._namer, self._events = ledger, namer, events
        self._files = {photo.key: photo.file for photo in ledger.all(Photo)}
        self._new_keys: set[str] = set()
        self._licences: set[str] = set()

    def store_all(self, results: Iterator[ImportedPhoto | Refusal], limit: int | None) -> None:
        """Store the results until `limit` photographs are imported."""
        for result in results:
            if isinstance(result, Refusal):
                self._ledger.add(result)
                self._count_rejected(result)
            else:
                self._store(result)
                if self.count == limit:
                    break

    def _store(self, imported: ImportedPhoto) -> None:
        self._check_licence(imported.photo)
        photo = dataclasses.replace(imported.photo, image=self._ledger.put_image(encode_png(imported.pixels)))
        replaced = [_replaced(self._files[key], photo) for key in imported.replaces]
        for refusal in replaced:
            self._count_rejected(refusal)
        self._ledger.replace_photos(
            imported.replaces,
            photo,
            imported.seen,
            imported.conversion,
            imported.credentials,
            *self._namer.take_fact(photo.key),
            *replaced,
        )
        # a photograph of this run that is replaced was counted when it was imported
        self.count += 1 - len(self._new_keys.intersection(imported.replaces))
        self._new_keys.add(photo.key)
        self._files[photo.key] = photo.file
        self.converted.update(imported.conversion.changes)

    def _check_licence(self, photo: Photo) -> None:
        """Warn of a licence that SPDX does not know, once, at the first photograph that has it."""
        if photo.licence not in self._licences and (warning := licence_warning(photo.licence)):
            self._events.warning(f"{photo.subject}: {warning}")
        self._licences.add(photo.licence)

    def _count_rejected(self, refusal: Refusal) -> None:
        self.rejected[refusal.reason] += 1
        self._events.warning(f"{refusal.reason}: {refusal.detail}")


def _replaced(file: str, larger: Photo) -> Refusal:
    """Return why a photograph is removed that was imported before its original."""
    detail = f"{file}: {larger.file} looks the same and is larger. Leave one of them out."
    return Refusal(file=file, reason="near_duplicate", detail=detail)
