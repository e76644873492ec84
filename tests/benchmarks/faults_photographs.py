"""The photographs of the bench of faults: real, sharp, free, read from Debian's packages: most are not shipped.

The learned witness was trained on the folder that gather() fills, and the bench reports on REPORT, of which it has seen
nothing. The gate's thresholds were set so that few good candidates of FIT and REPORT are lost: those of FIT alone
are too few to set them on.
"""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow

from ggt_tools.degradations import Image
from ggt_tools.ingest import window

PACKAGES = (
    "lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "palapeli-data", "mate-backgrounds",
    "plasma-workspace-wallpapers", "opencv-doc", "libjxl-testdata", "tuxpaint-data",
)  # fmt: skip
FILL = (
    f"apt-get download {' '.join(PACKAGES)}; for each of them: dpkg -x PACKAGE.deb FOLDER; then give --photographs "
    "FOLDER, or set GGT100K_PHOTOGRAPHS"
)
MARGIN = 32  # pixels on each side that are cut off after a fault is planted, so that no border betrays it

REPORT = (  # names of files, or of the folder three above it, whose file is named by its size
    "Bridge_by_Sander_Klootwijk", "Dragonfly_by_Bolly", "Kleiber_by_Lukas_Baubkus", "free_by_Peter_Nerlich",
    "greentock_by_Peter_Nerlich", "Dune", "FreshFlower", "Garden", "GreenMeadow", "LadyBird", "RainDrops", "Storm",
    "YellowFlower", "aloeL", "building", "chicky_512", "graf1", "leuvenA", "scenetext01", "scenetext04",
    "scenetext_segmented_word02", "castle-maintenon", "BytheWater", "ColorfulCups", "EveningGlow", "FallenLeaf",
    "OneStandsOut", "Path", "Volna", "Grey",
)  # fmt: skip
FIT = (
    "Aqua", "Blinds", "TwoWings", "Wood", "Kite", "scenetext06", "scenetext_segmented_word01",
    "scenetext_segmented_word03", "scenetext_segmented_word04", "panther-chameleon-female", "ColdRipple",
    "summer_1am", "ela_original",
)  # fmt: skip
TRAIN = (  # CC0, CC-BY, GPL-2+, public domain, and samples of OpenCV (Apache 2.0) and of JPEG XL (BSD)
    "aitzgorri_by_Aitzol_Berasategi", "Picture_0B_by_freespace", "Picture_1A_by_freespace", "Wine_by_Jakkub_Mede",
    "friends_by_Aitzol_Berasategi", "life_by_Aitzol_Berasategi", "picosdeeuropa_by_Aitzol_Berasategi",
    "seeding_by_Clements_Engelhardt", "sunset_by_Aitzol_Berasategi", "cincinnati-bridge", "citrus-fruits",
    "european-honey-bee", "plant", "rubberwhale1", "squirrel_cls", "starry_night", "sudoku", "scenetext02",
    "baboon", "board", "fruits", "scenetext03", "scenetext05",
    "flower", "hdr_room", "tmshre_riaphotographs_srgb8", "cvo9xd_keong_macan_srgb8", "u76c0g_bliznaca_srgb8",
    "burnt_bark", "cliff", "corn_maze", "jellyfish", "lighthouse", "mossy_bark", "mossy_log", "mudstone",
    "ocean_splash", "ocean_waves", "redwoods_above", "rocks", "sheep", "spiders_web", "sun_behind_clouds",
    "sun_behind_leaves", "trees_above", "trees_at_dusk", "wool_mill_machine",
)  # fmt: skip
TRAIN_SKIMAGE = (
    "coffee.png", "rocket.jpg", "astronaut.png", "retina.jpg", "hubble_deep_field.jpg", "brick.png",
    "grass.png", "gravel.png", "ihc.png",
)  # fmt: skip


def find(folder: Path) -> dict[str, Path]:
    """The file of each photograph that is there, by name."""
    wanted = {*REPORT, *FIT, *TRAIN}
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png") and "html" not in path.parts and not path.is_symlink():
            name = path.parents[2].name if path.parent.name == "images" else path.stem
            if name in wanted:
                found.setdefault(name, path)
    return found


def gather(folder: Path, out: Path) -> None:
    """Copies what `ggt100k train-witness` was given into a folder of its own: of the packages, and of scikit-image."""
    import skimage

    out.mkdir(parents=True, exist_ok=True)
    found = find(folder)
    data = Path(skimage.__file__).parent / "data"
    for path in [*(found[name] for name in TRAIN), *(data / name for name in TRAIN_SKIMAGE)]:
        shutil.copy(path, out / path.name)


@cache
def clean(path: Path, side: int) -> Image:
    """A square of `side` px and the margins with most detail, of a picture that is reduced until it is sharp."""
    with Pillow.open(path) as file:
        image = file.convert("RGB")
    scale = min(1.0, 1.6 * side / min(image.size))
    if scale < 1.0:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Pillow.Resampling.LANCZOS)
    whole = min(side + 2 * MARGIN, min(image.size) // 16 * 16)
    return np.ascontiguousarray(np.asarray(image.crop(window(np.asarray(image), whole))))


def inner(image: Image) -> Image:
    return np.ascontiguousarray(image[MARGIN:-MARGIN, MARGIN:-MARGIN])


def fitted(image: Image, size: tuple[int, int]) -> Image:
    """Of the same size as the photograph it is to stand beside."""
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA))
