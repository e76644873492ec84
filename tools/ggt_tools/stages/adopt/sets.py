"""sets: the nine that GPT-4o was asked to restore, by name (GPT-4o-Restore: Yang, Yang, Zhang, Pan, arXiv 2505.05621).

    ggt100k adopt gpt4o-restore/rain800 workspace --outputs X.zip --originals Y.zip

What an image of an original set is for stands in its folder or at the end of its name: `hazy/01_outdoor_hazy.jpg`,
`GT/01_outdoor_GT.jpg`. Licences are those of the sets' makers and are not known here: `--licence` names the one that
was read with the download, and without it the set stays on this machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

UNSTATED = "LicenseRef-unstated"  # of what came without a licence
FAMILY = "gpt4o-restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetConfig:
    """What is known of a set before it is opened. `ref`: words, in folders or at the end of names, of its true ground
    truth; `other`: of what is neither photograph nor ground truth."""

    name: str  # as the command names it
    title: str  # the original set's own name
    degradation: str
    restorer: str
    ref: tuple[str, ...] = ("gt", "groundtruth", "ground truth", "clean", "target", "ref", "reference")
    other: tuple[str, ...] = ("mask", "masks")
    released: bool = True  # whether its outputs were out when this was written


def _set(
    name: str, title: str, degradation: str, *ref: str, other: tuple[str, ...] = (), released: bool = True
) -> SetConfig:
    known = SetConfig(name="", title="", degradation="", restorer="")
    return SetConfig(
        name=f"{FAMILY}/{name}", title=title, degradation=degradation, restorer="gpt-4o",
        ref=(*known.ref, *ref), other=(*known.other, *other), released=released,
    )  # fmt: skip


SETS: dict[str, SetConfig] = {
    each.name: each
    for each in (
        _set("o-haze", "O-HAZE", "haze"),
        _set("rain800", "Rain800", "rain", "norain"),
        _set("lol", "LOL", "low_light", "high", "normal"),
        _set("raindrop", "RainDrop", "raindrop"),
        _set("uieb", "UIEB", "underwater"),
        _set("nature20", "Nature20", "reflection", "transmission layer", "transmission"),
        # of ISTD's folders A holds the shadow, B its mask, C the same without it
        _set("istd", "ISTD", "shadow", "test c", "train c", "shadow free", other=("test b", "train b"), released=False),
        _set("gopro", "GoPro", "motion_blur", "sharp", other=("blur gamma",), released=False),
        # of DPDD's folders L and R hold the views of the sensor's halves
        _set("dpdd", "DPDD", "defocus_blur", other=("test l", "test r", "train l", "train r"), released=False),
    )
}


def by_role(names: Iterable[str], about: SetConfig) -> tuple[list[str], list[str]]:
    """The low-quality images and the true ground truths among an original set's files; the rest is left out."""
    lqs: list[str] = []
    refs: list[str] = []
    for name in names:
        path = PurePosixPath(name)
        words = [re.sub(r"[ _-]+", " ", part.lower()) for part in path.parts[:-1]]
        words = [word for word in (*words, *(re.sub(r" \d+$", "", word) for word in words))]
        last = re.sub(r"[ _.-]+", " ", path.stem.lower()).split()[-1:]
        if any(word in about.other for word in (*words, *last)):
            continue
        (refs if any(word in about.ref for word in (*words, *last)) else lqs).append(name)
    return lqs, refs


# --- licences -------------------------------------------------------------------------------------------------------

# SPDX identifiers that let what is made of a work be passed on; anything else is taken to forbid it
_FREE = re.compile(
    r"CC0-1\.0|CC-BY(-NC)?(-SA)?-\d\.\d|CC-PDDC|PDDL-1\.0|ODC-By-1\.0|ODbL-1\.0|MIT|Apache-2\.0|BSD-[23]-Clause"
    r"|Unlicense|0BSD|ISC|Zlib|[AL]?GPL-\d\.\d(-only|-or-later)|MPL-2\.0|public[ -]domain",
    re.IGNORECASE,
)


# what a licence of any wording says that forbids it: CC BY-ND 4.0, .../licenses/by-nc-nd/4.0/, NoDerivatives
_DENIES = re.compile(r"(?<![a-z])nd(?![a-z])|no[ -]?deriv|all rights reserved", re.IGNORECASE)


def denies(licence: str) -> str:
    """Why a licence forbids to pass on what is made of a work, as far as its words say so; else ""."""
    if licence in ("", UNSTATED):
        return "no licence was stated"
    return f"{licence} forbids to pass on what is made of it" if _DENIES.search(licence) else ""


def forbids(licence: str) -> str:
    """Why what came from elsewhere must stay on this machine; "" where its licence lets it be passed on, changed."""
    if _FREE.fullmatch(licence):
        return ""
    return denies(licence) or f"{licence} is not known to let it be passed on"
