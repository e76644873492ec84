"""The verb adopt."""

from __future__ import annotations

import argparse
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import ggt_format
from ggt_tools.cli.show import complain, now, printable, progress, show_reasons, table
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.records import Adopted, Candidate, Photo, Refusal
from ggt_tools.workspace.ledger import Ledger

if TYPE_CHECKING:
    from ggt_tools.imaging.perceptual_hash import Looks
    from ggt_tools.stages.adopt import AdoptConfig, Taken
    from ggt_tools.stages.adopt.layouts import Listing
    from ggt_tools.stages.adopt.sets import SetConfig

EXAMPLE = "ggt100k adopt my-set workspace --outputs restored.zip --originals photos.zip --licence CC-BY-4.0"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("set", metavar="SET", help="Known set such as gpt4o-restore/rain800, or a name of your own.")
    sub.add_argument(
        "workspace",
        type=Path,
        nargs="?",
        default=Path("workspace"),
        help="Folder of the workspace (default: workspace).",
    )
    sub.add_argument("--outputs", type=Path, metavar="PLACE", help="Zip or folder of the restored images.")
    sub.add_argument(
        "--originals",
        type=Path,
        metavar="PLACE",
        help="Zip or folder of the degraded photographs; it may hold the true GT too.",
    )
    sub.add_argument("--refs", type=Path, metavar="PLACE", help="Zip or folder of the true GT, if it is separate.")
    told = "CSV with the columns original and output, and optionally class: only the pairs that it lists are imported."
    sub.add_argument("--map", type=Path, metavar="CSV", help=told)
    sub.add_argument(
        "--meta-info", type=Path, metavar="TXT", help="Meta info file of BasicSR that lists the files of both sides."
    )
    pairs = (
        "Both sides together: a folder or zip with --suffixes, one with metadata.jsonl, a parquet file, a tar, or a "
    )
    sub.add_argument("--pairs", metavar="PLACE", help=pairs + "dataset of the Hub.")
    sub.add_argument(
        "--suffixes",
        default="",
        metavar="_lq,_gt",
        help="Endings of the file names of each side; a third one for the true GT.",
    )
    sub.add_argument(
        "--columns", default="", metavar="LQ,GT", help="Columns with images or file names; a third one for the true GT."
    )
    sub.add_argument("--config", help="Configuration of a dataset of the Hub.")
    sub.add_argument("--split", default="train", help="Split of a dataset of the Hub (default: train).")
    sub.add_argument("--revision", help="Branch, tag or commit of a dataset of the Hub.")
    sub.add_argument("--restorer", default="", metavar="MODEL", help="Name of the model that made the outputs.")
    sub.add_argument(
        "--licence",
        default="",
        help="Licence of the set as an SPDX identifier; without one, nothing of it can be pushed.",
    )
    sub.add_argument("--local-only", default="", metavar="WHY", help="Reason why nothing of the set may be pushed.")
    sub.add_argument(
        "--class",
        dest="degradation",
        default="",
        choices=("", *ggt_format.DEGRADATIONS),
        metavar="CLASS",
        help="Class of the pairs that --map gives none (default: that of a known set, else mixed).",
    )
    sub.add_argument("--author", default="", help="Author of the photographs.")
    sub.add_argument("--url", default="", help="Address of the set.")
    sub.add_argument("--source-name", default="", help="Name of the source (default: the name of the set).")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.adopt import adopt, stored, tightened

    about, config = _config(options)
    listing = _listing(options, about)
    for lone in listing.lone:
        complain("adopt", f"{lone.reason}: {lone.detail}")
    for said in listing.faults:
        complain("adopt", said)
    reasons = Counter(lone.reason for lone in listing.lone)
    if options.dry_run:
        return _dry(options, listing, config, reasons)
    taken, there, refused = 0, 0, Counter[str]()
    with Ledger(options.workspace, create=True) as ledger:
        if options.licence.strip() or options.local_only:  # a licence that is merely not repeated forbids nothing
            ledger.add(*tightened(ledger.all(Adopted), config))
        looks = _looks(ledger, config)
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        done = {candidate.id for candidate in ledger.all(Candidate)}
        for found in progress(adopt(listing.pairs, config, done, now), listing.count, "adopt"):
            if isinstance(found, Refusal):
                ledger.add(found)
                refused[found.reason] += 1
                complain("adopt", f"{found.reason}: {found.detail}")
            elif found is None:
                there += 1
            elif (fault := _seen_before(found, photos, looks)) is not None:
                ledger.add(fault)
                refused[fault.reason] += 1
                complain("adopt", f"{fault.reason}: {fault.detail}")
            else:
                if found.remark:
                    complain("adopt", found.remark)
                ledger.add(*stored(found, ledger.put_image))
                photos.setdefault(found.photo.key, found.photo)
                done.add(found.candidate.id)  # it may lie there twice
                taken += 1
                if taken == options.limit:
                    break
        recorded = {each.local_only for each in ledger.all(Adopted) if each.set == config.name and each.local_only}
    for why in sorted(recorded):
        complain("adopt", f"{config.name}: stays on this machine: {why}")
    passed = {"passed over": listing.passed_over.lines()}
    table("adopt", {"imported": taken, "already done": there}, rejected=refused, unmatched=reasons, **passed)
    return 0


def _config(options: argparse.Namespace) -> tuple[SetConfig, AdoptConfig]:
    from ggt_tools.stages.adopt import AdoptConfig
    from ggt_tools.stages.adopt.sets import FAMILY, SETS, UNSTATED, SetConfig, forbids

    about = SETS.get(options.set.lower())
    if about is None and options.set.lower().partition("/")[0] == FAMILY:
        raise ConfigError(f"{options.set}: is none of GPT-4o-Restore's sets; there are: {', '.join(SETS)}")
    known = about or SetConfig(name=options.set, title=options.set, degradation="mixed", restorer="")
    licence = options.licence.strip() or UNSTATED
    config = AdoptConfig(
        name=known.name,
        restorer=options.restorer or known.restorer,
        licence=licence,
        degradation=options.degradation or known.degradation,
        local_only=options.local_only or forbids(licence),
        source_name=options.source_name or known.title,
        author=options.author,
        url=options.url,
    )
    return known, config


def _listing(options: argparse.Namespace, about: SetConfig) -> Listing:
    from ggt_tools.stages.adopt.layouts import by_dataset, by_meta_info, by_metadata, by_suffix, place_of, two_places
    from ggt_tools.stages.adopt.places import open_place

    columns = [name.strip() for name in options.columns.split(",") if name.strip()]
    if options.pairs and (options.outputs or options.originals):
        raise ConfigError(f"--pairs {options.pairs}: stands in the place of --outputs and --originals; leave one out")
    if options.map and (options.pairs or options.meta_info):
        raise ConfigError(f"--map {options.map}: goes with --outputs and --originals alone. Leave the other list out.")
    if not options.pairs:
        outputs, originals = place_of(options.outputs, "--outputs"), place_of(options.originals, "--originals")
        if options.meta_info:
            return by_meta_info(options.meta_info, originals, outputs)
        refs = open_place(options.refs) if options.refs else None
        return two_places(outputs, originals, about, refs=refs, named=options.map)
    place = Path(options.pairs)
    if place.is_dir() and (place / "metadata.jsonl").is_file():
        return by_metadata(open_place(place), place / "metadata.jsonl", columns)
    if options.suffixes:
        return by_suffix(open_place(place), options.suffixes.split(","))
    if place.suffix.lower() == ".zip" or (place.is_dir() and not any(map(_is_table, place.rglob("*")))):
        raise ConfigError(f"{place}: how its names tell lq from gt is not known; say it, e.g. --suffixes _lq,_gt")
    if not place.exists() and options.pairs.strip("/").count("/") != 1:
        raise ConfigError(f"{place}: there is no such file or folder; name one, or a dataset of the Hub as ORG/NAME")
    return by_dataset(options.pairs, columns, config=options.config, split=options.split, revision=options.revision)


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".tar")


def _dry(options: argparse.Namespace, listing: Listing, config: AdoptConfig, reasons: Counter[str]) -> int:
    """What was matched, pair by pair, and what was not; nothing is decoded, nothing written."""
    count = 0
    for pair in islice(listing.pairs, options.limit):
        count += 1
        print(
            printable(
                f"  {pair.name} <- {pair.output}"
                + (f", {pair.degradation}" if pair.degradation else "")
                + (", with its true gt" if pair.ref else f", {pair.lacks}" if pair.lacks else "")
            )
        )
    print(
        f"would adopt {count} pairs as {printable(config.name)} by {printable(config.restorer)}, {config.degradation}"
    )
    print(printable(f"licence {config.licence}" + (f"; local only: {config.local_only}" if config.local_only else "")))
    show_reasons(unmatched=reasons, **{"passed over": listing.passed_over.lines()})
    return 0


def _looks(ledger: Ledger, config: AdoptConfig) -> Looks:
    """The looks of what came from elsewhere than this set: frames of one film may be alike, two sets may not."""
    from ggt_tools.imaging.perceptual_hash import Looks, check_hashes, stored_hashes

    looks = Looks()
    files = {photo.key: photo.file for photo in ledger.all(Photo)}
    stored = stored_hashes(ledger)
    check_hashes(stored, ledger.workspace)
    for seen in stored:
        file = files.get(seen.key, "")
        if seen.place or not file.startswith(f"{config.name}/"):
            looks.add(seen, file if not seen.place else f"{seen.key} of the published {seen.place} split")
    return looks


def _seen_before(found: Taken, photos: dict[str, Photo], looks: Looks) -> Refusal | None:
    """Why a photograph cannot come in beside those that are there. One that is there gets another candidate."""
    photo = photos.get(found.photo.key)
    try:
        if photo is None:
            looks.check(found.seen, found.photo.file)
        elif (photo.licence, photo.degradation) != (found.photo.licence, found.photo.degradation):
            said = f"is {photo.file} of the class {photo.degradation} and the licence {photo.licence} already"
            raise PairError("duplicate", f"{found.photo.file}: {said}; take it into a workspace of its own")
    except PairError as fault:
        return Refusal(file=found.photo.file, reason=fault.reason, detail=str(fault))
    return None
