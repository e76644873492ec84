"""The known sets: GGT-100K, and the sets that GPT-4o was asked to restore.

    ggt100k adopt ggt-100k workspace --from hf://datasets/VCLab-PolyU/GGT-100K
    ggt100k adopt gpt4o-restore/rain800 workspace --outputs X.zip --originals Y.zip

GPT-4o-Restore (Yang, Yang, Zhang, Pan, arXiv 2505.05621) announced nine sets. Since July 2025 its README names six:
ISTD, GoPro and DPDD were withdrawn. They can still be read, for those who have the outputs.

In an original set the role of an image is stated by its folder or at the end of its name: `hazy/01_outdoor_hazy.jpg`,
`GT/01_outdoor_GT.jpg`. The licences of the sets are those of their authors, and are not known here: `--licence` states
the one that came with the download. Without it nothing of the set can be pushed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

UNSTATED = "LicenseRef-unstated"  # of a set whose licence is not stated
FAMILY = "gpt4o-restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSet:
    """What is known of a set before it is opened.

    Attributes:
        name: Name of the set on the command line.
        title: The original set's own name.
        degradation: Class of its pairs.
        restorer: Model that made the outputs; "" where it has to be stated.
        ref: Words in folders, or at the end of names, of the true ground truths.
        other: Words of images that are neither photographs nor ground truths.
        is_released: Whether the outputs are public. Of sets that are not, the outputs were announced and withdrawn.
        licence: Licence of the set, where its authors state one for all of it; else "".
        url: Address of the set; "" where there are several.
        subtree: Folder of the pairs at the root of its repository; "" for the whole.
        root: What the other folders and files at the root are.
    """

    name: str
    title: str
    degradation: str
    restorer: str
    ref: tuple[str, ...] = ("gt", "groundtruth", "ground truth", "clean", "target", "ref", "reference")
    other: tuple[str, ...] = ("mask", "masks")
    is_released: bool = True
    licence: str = ""
    url: str = ""
    subtree: str = ""
    root: Mapping[str, str] = field(default_factory=dict)


# What lies at the root of the repository was seen in 2026; what lies below `GGT-100K/` is not known.
GGT_100K = KnownSet(
    name="ggt-100k",
    title="GGT-100K",
    degradation="mixed",
    restorer="gemini-3.1-flash-image-preview",
    licence="CC-BY-NC-ND-4.0",
    url="https://huggingface.co/datasets/VCLab-PolyU/GGT-100K",
    subtree="GGT-100K",
    root={
        "Existing-dataset": "photographs of other datasets",
        "pretrained-model": "weights of the authors' models",
        "README.md": "the dataset card",
        "demo_video.mp4": "a video",
        ".gitattributes": "settings of git",
    },
)


def _gpt4o_set(
    name: str, title: str, degradation: str, *ref: str, other: tuple[str, ...] = (), is_released: bool = True
) -> KnownSet:
    default = KnownSet(name="", title="", degradation="", restorer="")
    return KnownSet(
        name=f"{FAMILY}/{name}",
        title=title,
        degradation=degradation,
        restorer="gpt-4o",
        ref=(*default.ref, *ref),
        other=(*default.other, *other),
        is_released=is_released,
    )


SETS: dict[str, KnownSet] = {
    known_set.name: known_set
    for known_set in (
        GGT_100K,
        _gpt4o_set("o-haze", "O-HAZE", "haze"),
        _gpt4o_set("rain800", "Rain800", "rain", "norain"),
        _gpt4o_set("lol", "LOL", "low_light", "high", "normal"),
        _gpt4o_set("raindrop", "RainDrop", "raindrop"),
        _gpt4o_set("uieb", "UIEB", "underwater"),
        _gpt4o_set("nature20", "Nature20", "reflection", "transmission layer", "transmission"),
        # In ISTD the folders A hold the images with shadow, B the masks, C the images without shadow.
        _gpt4o_set(
            *("istd", "ISTD", "shadow", "test c", "train c", "shadow free"),
            other=("test b", "train b"),
            is_released=False,
        ),
        _gpt4o_set("gopro", "GoPro", "motion_blur", "sharp", other=("blur gamma",), is_released=False),
        # In DPDD the folders L and R hold the views of the two halves of the sensor.
        _gpt4o_set("dpdd", "DPDD", "defocus_blur", other=("test l", "test r", "train l", "train r"), is_released=False),
    )
}


def withdrawn_message(known_set: KnownSet) -> str:
    """Return what a user of a set that was withdrawn must know; "" for other sets."""
    if known_set.is_released:
        return ""
    return (
        f"{known_set.name}: the authors of GPT-4o-Restore announced these outputs and withdrew them: since July 2025 "
        "their README names six sets without this one. Check where your files come from, and their licence."
    )


def split_by_role(names: Iterable[str], known_set: KnownSet) -> tuple[list[str], list[str]]:
    """Find the LQ images and the true ground truths among the files of an original set; other images are left out."""
    lqs: list[str] = []
    refs: list[str] = []
    for name in names:
        path = PurePosixPath(name)
        words = [re.sub(r"[ _-]+", " ", part.lower()) for part in path.parts[:-1]]
        words += [re.sub(r" \d+$", "", word) for word in words]
        words += re.sub(r"[ _.-]+", " ", path.stem.lower()).split()[-1:]
        if any(word in known_set.other for word in words):
            continue
        (refs if any(word in known_set.ref for word in words) else lqs).append(name)
    return lqs, refs


# --- licences -------------------------------------------------------------------------------------------------------

# SPDX identifiers of licences that allow to publish what is made of a work. Any other licence counts as forbidding it.
_FREE = re.compile(
    r"CC0-1\.0|CC-BY(-NC)?(-SA)?-\d\.\d|CC-PDDC|PDDL-1\.0|ODC-By-1\.0|ODbL-1\.0|MIT|Apache-2\.0|BSD-[23]-Clause"
    r"|Unlicense|0BSD|ISC|Zlib|[AL]?GPL-\d\.\d(-only|-or-later)|MPL-2\.0|public[ -]domain",
    re.IGNORECASE,
)


# How licences of any wording forbid it: CC BY-ND 4.0, .../licenses/by-nc-nd/4.0/, NoDerivatives.
_DENIES = re.compile(r"(?<![a-z])nd(?![a-z])|no[ -]?deriv|all rights reserved", re.IGNORECASE)


def denies(licence: str) -> str:
    """Return why a licence forbids to publish what is made of a work, as far as its wording shows; else "".

    Ledgers and manifests store this text.
    """
    if licence in ("", UNSTATED):
        return "no licence was stated"
    return f"{licence} forbids to pass on what is made of it" if _DENIES.search(licence) else ""


def local_only_reason(licence: str) -> str:
    """Return why nothing of a set may be pushed; "" where its licence allows to publish what is made of it."""
    if _FREE.fullmatch(licence):
        return ""
    return denies(licence) or f"{licence} is not known to let it be passed on"
