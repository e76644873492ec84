"""Import pairs that were made elsewhere into a workspace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from ggt_format.cores import core_count
from ggt_format.schema import DEGRADATIONS
from ggt_tools.clock import utc_now
from ggt_tools.configs import check_choice
from ggt_tools.errors import ConfigError, check_limit
from ggt_tools.events import SILENT, Events, track
from ggt_tools.policy.licences import licence_warning
from ggt_tools.records import Adopted
from ggt_tools.stages.adopt import PairOptions, adopt
from ggt_tools.stages.adopt.datasets import READERS, list_by_dataset
from ggt_tools.stages.adopt.image_files import Location
from ggt_tools.stages.adopt.image_source import open_image_source
from ggt_tools.stages.adopt.imports import Imports
from ggt_tools.stages.adopt.layouts import Listing, list_by_name, list_by_suffix
from ggt_tools.stages.adopt.lists import list_by_meta_info, list_by_metadata
from ggt_tools.stages.adopt.manifests import MANIFESTS, list_by_manifest
from ggt_tools.stages.adopt.pair_rows import PairRows
from ggt_tools.stages.adopt.plans import plan_csv, plan_lines, warnings_of
from ggt_tools.stages.adopt.releases import Release, open_release
from ggt_tools.stages.adopt.sets import FAMILY, SETS, UNSTATED, KnownSet, local_only_reason, withdrawn_message
from ggt_tools.stages.adopt.storing import restrict_to_local
from ggt_tools.stages.adopt.templates import read_layout
from ggt_tools.stages.adopt.trees import apply_folder_classes
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import Ledger, write_whole
from ggt_tools.workspace.locks import IMPORT

BY_FOLDER = "folder"  # in place of a class
METADATA = "metadata.jsonl"  # the list of an ImageFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptConfig:
    """Which set is imported, where its files are, and what is stated of it.

    Either `outputs` and `originals` or `pairs` is given.

    Attributes:
        set: Known set, such as ggt-100k or gpt4o-restore/rain800, or a name of the user's own.
        root: Folder, archive or URL of a release that holds both sides; its folders and names state which is which.
        subtrees: With `root`, read only what is below these paths.
        layout: With `root`, a mapping file that states the names of the pairs: see `templates`.
        test_list: With `root`, the published list of the test split: a file of the release, or one on this machine.
        class_names: Classes by names of folders or by types of a manifest, besides the words that are known.
        outputs: Folder, archive or URL of the restored images. An archive may be in parts.
        originals: The same of the degraded photographs; the true ground truths may be among them.
        refs: The same of the true ground truths, if they are separate.
        map: CSV with the columns original and output, and optionally class: only its pairs are imported.
        meta_info: Meta info text of BasicSR that lists the files of both sides.
        pairs: Both sides together: a folder or zip with `suffixes`, one with metadata.jsonl, a manifest (.json, .jsonl
            or .csv), a parquet file, a tar, or the name of a dataset on the Hub; "" for none.
        images: Folder or zip that the file names of a manifest are relative to; None for the manifest's own folder.
        suffixes: Ends of the file names of LQ image, ground truth and, optionally, true ground truth.
        columns: Columns of the same; empty to find them by their usual names.
        dataset_config: Configuration of a dataset on the Hub; None for its only one.
        split: Split of a dataset on the Hub.
        revision: Branch, tag or commit of a dataset on the Hub; None for the main branch.
        restorer: Model that made the outputs; "" for that of a known set.
        licence: Licence of the set as an SPDX identifier; "" where it is not stated: nothing of it can be pushed then.
        local_only: Why nothing of the set may be pushed; "" where its licence decides.
        degradation: Class of pairs for which neither a manifest nor a folder gives one; `folder` to leave such pairs
            out; "" for that of a known set, or else mixed.
        author: Author of the photographs.
        url: Address of the set.
        source_name: Name of the source; "" for the title of the set.
        limit: Import at most this many pairs.
        threads: Pairs that are read and decoded at a time; 0 for one on each core.
        dry_run: Only tell what would be done.
        csv: With `dry_run`, a file to which the pairs, their classes and licences and what is not matched are written.
    """

    set: str
    root: Location | None = None
    subtrees: tuple[str, ...] = ()
    layout: Path | None = None
    test_list: str = ""
    class_names: Mapping[str, str] = field(default_factory=dict)
    outputs: Location | None = None
    originals: Location | None = None
    refs: Location | None = None
    map: Path | None = None
    meta_info: Path | None = None
    pairs: str = ""
    images: Location | None = None
    suffixes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    dataset_config: str | None = None
    split: str = "train"
    revision: str | None = None
    restorer: str = ""
    licence: str = ""
    local_only: str = ""
    degradation: str = ""
    author: str = ""
    url: str = ""
    source_name: str = ""
    limit: int | None = None
    threads: int = 0
    dry_run: bool = False
    csv: Path | None = None

    def __post_init__(self) -> None:
        check_limit(self.limit)
        check_choice("degradation", self.degradation, ("", BY_FOLDER, *DEGRADATIONS))
        for name in ("root", "outputs", "originals", "refs", "images"):
            if getattr(self, name) == "":  # the empty path would be the current folder
                raise ConfigError(f"{name}: is empty. Name a folder, an archive or a URL.")
        for name, value in self.class_names.items():
            if value not in DEGRADATIONS:
                raise ConfigError(
                    f"--class-names {name}={value}: the class {value!r} is not known. Choose one of: "
                    f"{', '.join(DEGRADATIONS)}."
                )
        if self.root is not None and (self.pairs or self.outputs or self.originals):
            raise ConfigError(
                f"--from {self.root}: this takes the place of --outputs, --originals and --pairs. Leave one out."
            )
        if self.root is None and (self.subtrees or self.layout or self.test_list):
            option = "--subtree" if self.subtrees else "--layout" if self.layout else "--test-list"
            raise ConfigError(f"{option}: this works with --from only. Name the release: --from FOLDER_OR_URL")
        if self.csv and not self.dry_run:
            raise ConfigError(f"--csv {self.csv}: this is the table of a dry run. Add --dry-run.")
        if self.pairs and (self.outputs or self.originals):
            raise ConfigError(
                f"--pairs {self.pairs}: this takes the place of --outputs and --originals. Leave one of them out."
            )
        if self.map and (self.pairs or self.meta_info):
            other = "--pairs" if self.pairs else "--meta-info"
            raise ConfigError(f"--map {self.map}: cannot be combined with {other}. Leave one of them out.")
        if self.images and Path(self.pairs).suffix.lower() not in MANIFESTS:
            raise ConfigError(f"--images {self.images}: this works with a manifest only. Name one: --pairs FILE.json")


def run(workspace: Path, config: AdoptConfig, *, events: Events = SILENT) -> Summary:
    """Import the pairs of a set that are not imported yet; create the workspace if need be.

    A run that was stopped continues where it was.

    Args:
        workspace: Folder of the workspace.
        config: What to import.
        events: Receives progress, of images without a partner, and of pairs that are rejected.

    Returns:
        The counts imported and "already done". The run is failed where there were images, and no pair is imported. The
        plan of a dry run lists the pairs: nothing is decoded for it.

    Raises:
        ConfigError: The set cannot be read as a whole, or an option does not fit it.
    """
    known_set = _known_set(config)
    _pair_options(config, known_set)  # raises before anything is read
    if message := withdrawn_message(known_set):
        events.warning(message)
    release = _open_release(config, known_set, events) if config.root is not None else None
    listing = release.listing if release else _list_pairs(config, known_set, events)
    listing = _with_classes(listing, config)
    options = _pair_options(config, known_set, card_licence=release.licence if release else "")
    for message in warnings_of(listing.unmatched):
        events.warning(message)
    for fault in listing.faults:
        events.warning(fault)
    if config.licence and (warning := licence_warning(config.licence)):
        events.warning(f"{options.name}: {warning}")
    notes = release.notes if release else ()
    if config.dry_run:
        return _plan(listing, options, config, notes)
    is_stated = bool(config.licence.strip() or config.local_only or known_set.licence or (release and release.licence))
    with Ledger(workspace, create=True) as ledger, ledger.lock(IMPORT):
        if is_stated:  # that a licence is not stated again forbids nothing
            ledger.add(*restrict_to_local(ledger.all(Adopted), options))
        imports = Imports(ledger=ledger, set_name=options.name, events=events)
        pairs = listing.pairs.in_reading_order() if isinstance(listing.pairs, PairRows) else listing.pairs
        threads = config.threads or core_count()
        results = adopt(pairs, options, imports.done, utc_now, origins=imports.origins, threads=threads)
        with closing(results):
            imports.store_all(track(events, results, "adopt", listing.count or None), config.limit)
        reasons = {fact.local_only for fact in ledger.all(Adopted) if fact.set == options.name and fact.local_only}
    for reason in sorted(reasons):
        events.warning(f"{options.name}: nothing of it can be pushed: {reason}")
    return Summary(
        stage="adopt",
        counts={"imported": imports.count, "already done": imports.already_done},
        reasons={"rejected": imports.rejected, **_unmatched_reasons(listing)},
        notes=notes,
        is_failed=imports.count == imports.already_done == 0 and bool(imports.rejected or listing.unmatched),
    )


def _known_set(config: AdoptConfig) -> KnownSet:
    """Return what is known of the set.

    Raises:
        ConfigError: The name is of the family of known sets, and there is no such set.
    """
    name = config.set.lower()
    if name in SETS:
        return SETS[name]
    if name.partition("/")[0] == FAMILY:
        members = [known for known in SETS if known.startswith(f"{FAMILY}/")]
        raise ConfigError(f"{config.set}: GPT-4o-Restore has no such set. Choose one of: {', '.join(members)}.")
    return KnownSet(name=config.set, title=config.set, degradation="mixed", restorer="")


def _pair_options(config: AdoptConfig, known_set: KnownSet, *, card_licence: str = "") -> PairOptions:
    """Return what is stated of the set. Of several licences that are stated, each may keep it on this machine."""
    stated = [licence for licence in (config.licence.strip(), known_set.licence, card_licence) if licence]
    reasons = (local_only_reason(licence) for licence in stated or [UNSTATED])
    return PairOptions(
        name=known_set.name,
        restorer=config.restorer or known_set.restorer,
        licence=stated[0] if stated else UNSTATED,
        degradation=known_set.degradation if config.degradation in ("", BY_FOLDER) else config.degradation,
        local_only=config.local_only or next(filter(None, reasons), ""),
        source_name=config.source_name or known_set.title,
        author=config.author,
        url=config.url or known_set.url,
    )


def _open_release(config: AdoptConfig, known_set: KnownSet, events: Events) -> Release:
    assert config.root is not None
    return open_release(
        config.root,
        known_set,
        subtrees=config.subtrees,
        revision=config.revision,
        layout=read_layout(config.layout) if config.layout else None,
        class_names=config.class_names,
        test_list=config.test_list,
        columns=config.columns,
        events=events,
    )


def _with_classes(listing: Listing, config: AdoptConfig) -> Listing:
    """Return the pairs with the classes that their folders name, where that is asked for."""
    is_required = config.degradation == BY_FOLDER
    if config.root is None and not is_required:
        return listing
    if not isinstance(listing.pairs, PairRows):
        raise ConfigError(f"--class {BY_FOLDER}: the pairs of {config.pairs} are in no folders. Name a class.")
    names = {**(read_layout(config.layout).classes if config.layout else {}), **config.class_names}
    default = "" if is_required else config.degradation
    return apply_folder_classes(listing, names, default=default, is_required=is_required)


def _list_pairs(config: AdoptConfig, known_set: KnownSet, events: Events) -> Listing:
    """Find the pairs of the set, in the layout that the options state.

    Raises:
        ConfigError: The layout is not clear, or a file is missing.
    """
    if not config.pairs:
        open_source = partial(open_image_source, revision=config.revision, events=events)
        outputs = open_source(_require(config.outputs, "--outputs"))
        originals = open_source(_require(config.originals, "--originals"))
        if config.meta_info:
            return list_by_meta_info(config.meta_info, originals, outputs)
        refs = open_source(config.refs) if config.refs else None
        return list_by_name(outputs, originals, known_set, refs=refs, map_path=config.map)
    path = Path(config.pairs)
    if path.is_dir() and (path / METADATA).is_file():
        return list_by_metadata(open_image_source(path), path / METADATA, config.columns)
    if path.suffix.lower() in MANIFESTS and not path.is_dir():
        images = open_image_source(config.images or path.parent, revision=config.revision, events=events)
        return list_by_manifest(images, path, config.columns, class_names=config.class_names)
    if config.suffixes:
        return list_by_suffix(open_image_source(path), config.suffixes)
    is_images = path.is_dir() and not any(file.suffix.lower() in READERS for file in path.rglob("*"))
    if path.suffix.lower() == ".zip" or is_images:
        raise ConfigError(
            f"{path}: it is not clear which images are LQ and which are GT. State it, for example: --suffixes _lq,_gt"
        )
    if not path.exists() and config.pairs.strip("/").count("/") != 1:
        raise ConfigError(f"{path}: there is no such file or folder. Name one, or a dataset on the Hub as ORG/NAME.")
    return list_by_dataset(
        config.pairs, config.columns, config=config.dataset_config, split=config.split, revision=config.revision
    )


def _require(location: Location | None, option: str) -> Location:
    if location is None:
        raise ConfigError(f"{option}: this option is missing. Name the zip or the folder.")
    return location


def _plan(listing: Listing, options: PairOptions, config: AdoptConfig, notes: Sequence[str]) -> Summary:
    # rows of a dataset can be iterated over once
    pairs = listing.pairs if isinstance(listing.pairs, Sequence) else list(islice(listing.pairs, config.limit))
    lines = plan_lines(islice(pairs, config.limit), options)
    if config.csv:
        write_whole(config.csv, plan_csv(islice(pairs, config.limit), listing.unmatched, options).encode())
    return Summary(
        stage="adopt",
        plan=(*lines,),
        reasons=_unmatched_reasons(listing),
        notes=(*notes,),
        paths=(str(config.csv),) if config.csv else (),
    )


def _unmatched_reasons(listing: Listing) -> dict[str, Counter[str]]:
    return {
        "unmatched": Counter(image.reason for image in listing.unmatched),
        "passed over": listing.passed_over.lines(),
    }
