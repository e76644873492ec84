"""The verb ingest."""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import ggt_format
from ggt_tools.cli import calling
from ggt_tools.cli.classing import classed, unnamed
from ggt_tools.cli.show import complain, progress, show_reasons, table
from ggt_tools.errors import ConfigError
from ggt_tools.files.names import compared
from ggt_tools.records import Conversion, Photo, Refusal
from ggt_tools.workspace.ledger import Ledger

if TYPE_CHECKING:
    from ggt_tools.imaging.perceptual_hash import Looks
    from ggt_tools.stages.ingest.credits import Credit
    from ggt_tools.stages.ingest.sources import Found, Source

# What was refused for these is what it was, whatever the options: it is not fetched again.
FOR_GOOD = ("not_served", "unsupported_mode", "unsupported_format", "too_flat", "screenshot", "duplicate")
TOGETHER = 256  # looks of published pairs that are added at once

EXAMPLE = "ggt100k ingest photos workspace --licence CC-BY-4.0"


def arguments(sub: argparse.ArgumentParser) -> None:
    photos = (
        "Folder or tar of photographs, with a credits.csv in it if there is one; or a list of URLs (.csv, .jsonl, "
        ".parquet with a column url)."
    )
    sub.add_argument("photos", type=Path, help=photos)
    workspace = sub.add_argument("workspace", type=Path, help="Folder of the workspace; it is created if need be.")

    class InPlaceOfPhotos(argparse.Action):
        """With --dataset, the first positional argument is the workspace. Making `photos` optional would not do:
        Python before 3.12.7 takes the workspace for it if an option stands between the two."""

        def __call__(self, parser: object, options: argparse.Namespace, value: object, name: str | None = None) -> None:
            options.dataset = value
            workspace.required = False

    dataset = sub.add_argument_group("images of a dataset on the Hub, instead of PHOTOS")
    dataset.add_argument("--dataset", metavar="ID", action=InPlaceOfPhotos, help="Name of the dataset, ORG/NAME.")
    dataset.add_argument("--column", default="image", help="Column that holds the images (default: image).")
    dataset.add_argument("--config", help="Configuration of the dataset (default: its only one).")
    dataset.add_argument("--split", default="train", help="Split of the dataset (default: train).")
    dataset.add_argument("--revision", help="Branch, tag or commit of the dataset (default: main).")
    facts = sub.add_argument_group("facts of the photographs, where credits or list do not state them")
    facts.add_argument(
        "--licence", default="", help="Licence as an SPDX identifier; without any, a photograph is refused."
    )
    facts.add_argument(
        "--source",
        choices=ggt_format.SOURCES,
        help="Kind of source (default: internet for a list, dataset for a dataset).",
    )
    facts.add_argument("--source-name", default="", help="Name of the source, for example of the collection.")
    facts.add_argument(
        "--classes",
        default="classifier",
        choices=("classifier", "measured", "folder", "vlm"),
        help="Take the class from the classifier, a measurement, the folder's name, or a vision-language model "
        "(default: classifier; measured without onnxruntime).",
    )
    facts.add_argument(
        "--vlm",
        default="gemini",
        metavar="NAME",
        help="Provider or PROVIDER:MODEL for --classes vlm (default: gemini).",
    )
    pixels = sub.add_argument_group("selection and storage")
    pixels.add_argument(
        "--fit",
        default="crop",
        choices=("crop", "resize", "pad"),
        help="How a photograph becomes 1024 x 1024: crop a window, resize the shorter side and crop, "
        "or resize the longer side and pad for the model's call (default: crop).",
    )
    pixels.add_argument(
        "--published",
        action="append",
        default=[],
        metavar="RELEASE",
        help="Refuse photographs that look like one in this release, a folder or URL; can be given several times.",
    )
    pixels.add_argument(
        "--images",
        default="",
        metavar="FOLDER_OR_URL",
        help="Where a new workspace stores its images (default: in the workspace).",
    )
    fetching = sub.add_argument_group("fetching URLs")
    fetching.add_argument(
        "--most-bytes",
        type=int,
        default=50_000_000,
        metavar="BYTES",
        help="Refuse files larger than this (default: 50000000).",
    )
    fetching.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="Give up on a file after this many seconds (default: 60).",
    )
    fetching.add_argument("--allow-private", action="store_true", help="Fetch from private addresses too.")
    calling.arguments(sub)


def run(options: argparse.Namespace) -> int:
    from ggt_format.png import encode_png
    from ggt_tools.stages.ingest import Classes, IngestConfig, by_folder, ingest, measured
    from ggt_tools.stages.ingest.naming import ClassNamer

    namer = ClassNamer()
    classes: dict[str, Classes] = {"classifier": namer, "measured": measured, "folder": by_folder, "vlm": unnamed}
    config = IngestConfig(
        licence=options.licence,
        source=options.source or _kind(options),
        source_name=options.source_name or options.dataset or "",
        fit=options.fit,
        classify=classes[options.classes],
    )
    if options.dataset and options.workspace is None:
        options.photos, options.workspace = None, options.photos
    before = _Before()
    source = _source(options, before)  # what is wrong with it is said before a workspace is made
    for fault in source.faults:
        complain("ingest", fault)
    passed = {"passed over": source.passed_over.lines()}
    if options.dry_run and not (options.workspace / "ledger.sqlite").exists():
        print(f"would look at {source.count or 'all'} files")
        show_reasons(**passed)
        return 0
    if options.classes == "classifier" and namer.reason:
        complain("ingest", f"{namer.reason} Until then the class is measured.")
    refused, converted = Counter[str](), Counter[str]()
    taken = 0
    with ExitStack() as stack, Ledger(options.workspace, create=True, images=options.images) as ledger:
        before.read(ledger)
        if options.dry_run:
            print(f"would look at {source.count or 'all' if options.dataset else _count(before.new(source))} files")
            show_reasons(**passed)
            return 0
        looks = _looks(ledger, options.published)
        files, ours = {photo.key: photo.file for photo in ledger.all(Photo)}, set[str]()
        found_all = ingest(before.new(source), config, looks)
        if options.classes == "vlm":
            stack.enter_context(calling.alone(options, ledger))
            calling.recover(ledger, "ingest")
            found_all = classed(options, ledger, found_all)
        for found in progress(found_all, source.count, "ingest"):
            if isinstance(found, Refusal):
                ledger.add(found)
                refused[found.reason] += 1
                complain("ingest", f"{found.reason}: {found.detail}")
                continue
            photo = dataclasses.replace(found.photo, image=ledger.put_image(encode_png(found.pixels)))
            smaller = [_replaced(files[key], photo) for key in found.replaces]
            for refusal in smaller:
                refused[refusal.reason] += 1
                complain("ingest", f"{refusal.reason}: {refusal.detail}")
            ledger.replace_photos(
                found.replaces, photo, found.seen, found.conversion, *namer.take_fact(photo.key), *smaller
            )
            taken += 1 - len(ours.intersection(found.replaces))
            ours.add(photo.key)
            files[photo.key] = photo.file
            converted.update(found.conversion.changes)
            if taken == options.limit:
                break
    earlier = {"refused before": before.refused} if before.refused else {}
    counts = {"imported": taken, "already done": before.there, **earlier}
    table("ingest", counts, rejected=refused, converted=converted, **passed)
    return 0


def _replaced(file: str, larger: Photo) -> Refusal:
    """Why a photograph goes that was taken in before its original came."""
    detail = f"{file}: looks like {larger.file}, which is larger; leave one out"
    return Refusal(file=file, reason="near_duplicate", detail=detail)


def _kind(options: argparse.Namespace) -> str:
    from ggt_tools.stages.ingest.sources import LISTS

    if options.dataset:
        return "dataset"
    return "internet" if options.photos and options.photos.name.lower().endswith(LISTS) else "captured"


def _source(options: argparse.Namespace, before: _Before) -> Source:
    from ggt_tools.providers.fetch import FetchConfig
    from ggt_tools.stages.ingest.sources import LISTS, TARS, from_dataset, from_folder, from_list, from_tar

    path: Path | None = options.photos
    if path is not None and options.dataset:
        raise ConfigError(f"--dataset {options.dataset}: stands in the place of {path}; leave one of them out")
    if path is None:
        return from_dataset(
            options.dataset,
            options.column,
            config=options.config,
            split=options.split,
            revision=options.revision,
        )
    if path.is_file() and path.name.lower().endswith(TARS):
        return from_tar(path)
    if path.is_file() and path.name.lower().endswith(LISTS):
        fetching = FetchConfig(size=options.most_bytes, seconds=options.seconds, private=options.allow_private)
        return from_list(path, fetching, before.skip, licensed=bool(options.licence), dry=options.dry_run)
    if path.is_file():
        raise ConfigError(f"{path}: is no folder, and ends in none of {', '.join((*TARS, *LISTS))}; name one of these")
    if not path.is_dir():
        raise ConfigError(f"{path}: no such folder; name the one that holds the photographs")
    return from_folder(path)


class _Before:
    """What earlier runs took and refused, and how often it came again."""

    def __init__(self) -> None:
        self.there = self.refused = 0
        self._names: dict[str, str] = {}  # by the digest of the file
        self._photos: dict[tuple[str, str], Photo] = {}  # by name and the URL without its query
        self._reasons: dict[str, str] = {}

    def read(self, ledger: Ledger) -> None:
        for photo in ledger.all(Photo):
            self._names[photo.original] = photo.file
            self._photos[compared(photo.file), photo.url.partition("?")[0]] = photo
        self._reasons = {compared(refusal.file): refusal.reason for refusal in ledger.all(Refusal)}

    def skip(self, name: str, credit: Credit) -> bool:
        """Whether it is in, or was refused for what does not pass: it is not fetched again."""
        if (photo := self._photos.get((compared(name), credit.url.partition("?")[0]))) is not None:
            self._came_again(photo, credit)
            return True
        known = self._reasons.get(compared(name)) in FOR_GOOD
        self.refused += known
        return known

    def new(self, source: Source) -> Iterator[Found]:
        """What is not in already, by its name and its bytes."""
        from ggt_tools.stages.ingest import known

        photos = {compared(photo.file): photo for photo in self._photos.values()}
        for found in source.found:
            if known(found, self._names):
                self._came_again(photos[compared(found.name)], found.credit)
            else:
                yield found

    def _came_again(self, photo: Photo, credit: Credit) -> None:
        """A fact is not edited, and what it says of the licence goes with each pair."""
        self.there += 1
        if credit.licence not in ("", photo.licence):
            said = f"{photo.file}: is in with the licence {photo.licence}, its credit says {credit.licence} now"
            complain("ingest", f"{said}; take it into a new workspace")


def _looks(ledger: Ledger, published: list[str]) -> Looks:
    """The looks of all that is in and of what is published; those that the ledger does not have yet go into it."""
    from ggt_tools.imaging.perceptual_hash import Looks, check_hashes, stored_hashes
    from ggt_tools.imaging.perceptual_hash import published as looks_of

    looks = Looks()
    photos = {photo.key: photo for photo in ledger.all(Photo)}
    stored = {(record.key, record.place): record for record in stored_hashes(ledger)}
    seen = {key: record for key, record in stored.items() if record.phash}
    for root in published:
        total = sum(about["pairs"] for about in ggt_format.open_root(root).manifest["splits"].values())
        fresh = progress(looks_of(root, frozenset(seen)), total, "published")
        while some := list(islice(fresh, TOGETHER)):
            ledger.add(*some)
            seen.update({(one.key, one.place): one for one in some})
    if not published:
        check_hashes(stored.values(), ledger.workspace)
    pixels = {one.key: one.width * one.height for one in ledger.all(Conversion) if not one.candidate}
    worked_on = ledger.worked_on()
    for one in seen.values():
        if one.place:
            looks.add(one, f"{one.key} of the published {one.place} split")
        else:
            name, size = photos[one.key].file, pixels.get(one.key, 0)
            looks.add(one, name, pixels=size, is_replaceable=one.key not in worked_on)
    return looks


def _count(items: Iterable[object]) -> int:
    return sum(1 for _ in items)
