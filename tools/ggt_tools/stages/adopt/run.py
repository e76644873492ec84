"""Import pairs that were made elsewhere into a workspace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ggt_format.schema import DEGRADATIONS
from ggt_tools.clock import utc_now
from ggt_tools.configs import check_choice
from ggt_tools.errors import ConfigError, PairError, check_limit
from ggt_tools.events import SILENT, Events, track
from ggt_tools.imaging.perceptual_hash import HashIndex, check_hashes, stored_hashes
from ggt_tools.policy.licences import licence_warning
from ggt_tools.records import Adopted, Candidate, Photo, Refusal
from ggt_tools.stages.adopt import (
    ExternalPair,
    ImportedPair,
    PairOptions,
    adopt,
    restrict_to_local,
    store_images,
)
from ggt_tools.stages.adopt.datasets import READERS, list_by_dataset
from ggt_tools.stages.adopt.image_source import ImageSource, open_image_source
from ggt_tools.stages.adopt.layouts import Listing, list_by_name, list_by_suffix
from ggt_tools.stages.adopt.lists import list_by_meta_info, list_by_metadata
from ggt_tools.stages.adopt.manifests import MANIFESTS, list_by_manifest
from ggt_tools.stages.adopt.sets import FAMILY, SETS, UNSTATED, KnownSet, local_only_reason
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import Ledger
from ggt_tools.workspace.locks import IMPORT

METADATA = "metadata.jsonl"  # the list of an ImageFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptConfig:
    """Which set is imported, where its files are, and what is stated of it.

    Either `outputs` and `originals` or `pairs` is given.

    Attributes:
        set: Known set, such as gpt4o-restore/rain800, or a name of the user's own.
        outputs: Zip or folder of the restored images.
        originals: Zip or folder of the degraded photographs; it may hold the true ground truths too.
        refs: Zip or folder of the true ground truths, if they are separate.
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
        degradation: Class of the pairs that have none of their own; "" for that of a known set, or else mixed.
        author: Author of the photographs.
        url: Address of the set.
        source_name: Name of the source; "" for the title of the set.
        limit: Import at most this many pairs.
        dry_run: Only tell what would be done.
    """

    set: str
    outputs: Path | None = None
    originals: Path | None = None
    refs: Path | None = None
    map: Path | None = None
    meta_info: Path | None = None
    pairs: str = ""
    images: Path | None = None
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
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_limit(self.limit)
        check_choice("degradation", self.degradation, ("", *DEGRADATIONS))
        if self.pairs and (self.outputs or self.originals):
            raise ConfigError(
                f"--pairs {self.pairs}: this takes the place of --outputs and --originals. Leave one of them out."
            )
        if self.map and (self.pairs or self.meta_info):
            raise ConfigError(
                f"--map {self.map}: this works with --outputs and --originals only. Leave the other list out."
            )
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
    options = _pair_options(config, known_set)
    listing = _list_pairs(config, known_set)
    for image in listing.unmatched:
        events.warning(f"{image.reason}: {image.detail}")
    for fault in listing.faults:
        events.warning(fault)
    if config.licence and (warning := licence_warning(config.licence)):
        events.warning(f"{options.name}: {warning}")
    if config.dry_run:
        return _plan(listing, options, config.limit)
    with Ledger(workspace, create=True) as ledger, ledger.lock(IMPORT):
        if config.licence.strip() or config.local_only:  # that a licence is not stated again forbids nothing
            ledger.add(*restrict_to_local(ledger.all(Adopted), options))
        imports = _Imports(ledger=ledger, set_name=options.name, events=events)
        results = adopt(listing.pairs, options, imports.done, utc_now)
        imports.store_all(track(events, results, "adopt", listing.count or None), config.limit)
        facts = [fact for fact in ledger.all(Adopted) if fact.set == options.name]
    for reason in sorted({fact.local_only for fact in facts if fact.local_only}):
        events.warning(f"{options.name}: nothing of it can be pushed: {reason}")
    return Summary(
        stage="adopt",
        counts={"imported": imports.count, "already done": imports.already_done},
        reasons={"rejected": imports.rejected, **_unmatched_reasons(listing)},
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
        raise ConfigError(f"{config.set}: GPT-4o-Restore has no such set. Choose one of: {', '.join(SETS)}.")
    return KnownSet(name=config.set, title=config.set, degradation="mixed", restorer="")


def _pair_options(config: AdoptConfig, known_set: KnownSet) -> PairOptions:
    licence = config.licence.strip() or UNSTATED
    return PairOptions(
        name=known_set.name,
        restorer=config.restorer or known_set.restorer,
        licence=licence,
        degradation=config.degradation or known_set.degradation,
        local_only=config.local_only or local_only_reason(licence),
        source_name=config.source_name or known_set.title,
        author=config.author,
        url=config.url,
    )


def _list_pairs(config: AdoptConfig, known_set: KnownSet) -> Listing:
    """Find the pairs of the set, in the layout that the options state.

    Raises:
        ConfigError: The layout is not clear, or a file is missing.
    """
    if not config.pairs:
        outputs = _open_required(config.outputs, "--outputs")
        originals = _open_required(config.originals, "--originals")
        if config.meta_info:
            return list_by_meta_info(config.meta_info, originals, outputs)
        refs = open_image_source(config.refs) if config.refs else None
        return list_by_name(outputs, originals, known_set, refs=refs, map_path=config.map)
    path = Path(config.pairs)
    if path.is_dir() and (path / METADATA).is_file():
        return list_by_metadata(open_image_source(path), path / METADATA, config.columns)
    if path.suffix.lower() in MANIFESTS and not path.is_dir():
        return list_by_manifest(open_image_source(config.images or path.parent), path, config.columns)
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


def _open_required(path: Path | None, option: str) -> ImageSource:
    if path is None:
        raise ConfigError(f"{option}: this option is missing. Name the zip or the folder.")
    return open_image_source(path)


def _plan(listing: Listing, options: PairOptions, limit: int | None) -> Summary:
    pairs = list(islice(listing.pairs, limit))
    local_only = f"; local only: {options.local_only}" if options.local_only else ""
    return Summary(
        stage="adopt",
        plan=(
            *map(_describe, pairs),
            f"would adopt {len(pairs)} pairs as {options.name} by {options.restorer}, {options.degradation}",
            f"licence {options.licence}{local_only}",
        ),
        reasons=_unmatched_reasons(listing),
    )


def _describe(pair: ExternalPair) -> str:
    degradation = f", {pair.degradation}" if pair.degradation else ""
    reference = ", with its true gt" if pair.ref else f", {pair.lacks}" if pair.lacks else ""
    return f"  {pair.name} <- {pair.output}{degradation}{reference}"


def _unmatched_reasons(listing: Listing) -> dict[str, Counter[str]]:
    return {
        "unmatched": Counter(image.reason for image in listing.unmatched),
        "passed over": listing.passed_over.lines(),
    }


class _Imports:
    """Stores what adopt made of each pair, and counts it."""

    def __init__(self, *, ledger: Ledger, set_name: str, events: Events) -> None:
        self.count = self.already_done = 0
        self.rejected: Counter[str] = Counter()
        self.done = {candidate.id for candidate in ledger.all(Candidate)}
        self._ledger, self._events = ledger, events
        self._photos = {photo.key: photo for photo in ledger.all(Photo)}
        self._hashes = _hashes_of_others(ledger, set_name, self._photos)

    def store_all(self, results: Iterable[ImportedPair | Refusal | None], limit: int | None) -> None:
        """Store the results until `limit` pairs are imported."""
        for result in results:
            if result is None:
                self.already_done += 1
            elif isinstance(result, Refusal):
                self._reject(result)
            elif (refusal := self._check_photo(result)) is not None:
                self._reject(refusal)
            else:
                self._store(result)
                if self.count == limit:
                    break

    def _store(self, pair: ImportedPair) -> None:
        if pair.remark:
            self._events.warning(pair.remark)
        self._ledger.add(*store_images(pair, self._ledger.put_image))
        self._photos.setdefault(pair.photo.key, pair.photo)
        self.done.add(pair.candidate.id)  # the set may hold the same pair twice
        self.count += 1

    def _reject(self, refusal: Refusal) -> None:
        self._ledger.add(refusal)
        self.rejected[refusal.reason] += 1
        self._events.warning(f"{refusal.reason}: {refusal.detail}")

    def _check_photo(self, pair: ImportedPair) -> Refusal | None:
        """Return why a photograph cannot be imported beside the others; None where it can.

        One that is imported already gets another candidate.
        """
        new = pair.photo
        present = self._photos.get(new.key)
        try:
            if present is None:
                self._hashes.check(pair.seen, new.file)
            elif (present.licence, present.degradation) != (new.licence, new.degradation):
                raise PairError(
                    "duplicate",
                    f"{new.file}: {present.file} is the same photograph, of the class {present.degradation} and with "
                    f"the licence {present.licence}. Import the pair into a workspace of its own.",
                )
        except PairError as error:
            return Refusal(file=new.file, reason=error.reason, detail=str(error))
        return None


def _hashes_of_others(ledger: Ledger, set_name: str, photos: dict[str, Photo]) -> HashIndex:
    """Return the hashes of all photographs that are not of this set.

    Within a set near duplicates are allowed, such as frames of one film; between sets they are not.
    """
    stored = stored_hashes(ledger)
    check_hashes(stored, ledger.workspace)
    index = HashIndex()
    for record in stored:
        file = photos[record.key].file if record.key in photos else ""
        if record.split:
            index.add(record, f"{record.key} of the published {record.split} split")
        elif not file.startswith(f"{set_name}/"):
            index.add(record, file)
    return index
