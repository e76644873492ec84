from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ggt_format.schema import SOURCES
from ggt_tools.choices import CLASS_METHODS, FITS
from ggt_tools.cli.options import add_choice, add_flag, add_number, add_pairs, add_repeated, add_text
from ggt_tools.cli.shared import add_hub_dataset, add_service, add_vlm, build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k ingest photos workspace --licence CC-BY-4.0"


class InPlaceOfPhotos(argparse.Action):
    """Stores --dataset, and makes the second positional argument optional: the first one is the workspace then.

    PHOTOS cannot be optional: Python before 3.12.7 reads the workspace as PHOTOS if an option stands between them.
    """

    def __init__(self, *args: Any, workspace: argparse.Action, **options: Any) -> None:
        super().__init__(*args, **options)
        self._workspace = workspace

    def __call__(self, parser: object, options: argparse.Namespace, value: object, name: str | None = None) -> None:
        options.dataset = value
        self._workspace.required = False


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "photos",
        type=Path,
        help="Folder, tar or zip of photographs, with a credits.csv in it if there is one; or a list of URLs (.csv, "
        ".jsonl, .parquet with a column url).",
    )
    workspace = parser.add_argument("workspace", type=Path, help="Folder of the workspace; it is created if need be.")
    dataset = parser.add_argument_group("images of a dataset on the Hub, instead of PHOTOS")
    dataset.add_argument(
        "--dataset",
        default="",
        metavar="ID",
        action=InPlaceOfPhotos,
        workspace=workspace,
        help="Name of the dataset, ORG/NAME.",
    )
    add_text(dataset, "--column", "Column that holds the images", default="image")
    add_hub_dataset(dataset)
    facts = parser.add_argument_group("facts of the photographs, where credits or list do not state them")
    add_text(facts, "--licence", "Licence as an SPDX identifier; without any, a photograph is rejected")
    kinds = "internet for a list, dataset for a dataset, else captured"
    add_choice(facts, "--source", "Kind of source", SOURCES, shown=kinds)
    add_text(facts, "--source-name", "Name of the source, for example of the collection")
    text = "Take the class from the classifier, a measurement, the folder's name, or a vision-language model"
    shown = "classifier; measured without onnxruntime"
    add_choice(facts, "--classes", text, CLASS_METHODS, "classifier", shown=shown)
    add_vlm(facts, "for --classes vlm")
    text = "Look for this in every photograph, and store what is found: faces, by the detector of the extra faces"
    add_repeated(facts, "--flag", text, None, dest="flags", choices=("faces",))
    text = "Store as this flag the probability that an ONNX model of yours gives, for example nsfw=nsfw.onnx"
    add_pairs(facts, "--flag-model", text, "NAME=FILE", dest="flag_models")
    pixels = parser.add_argument_group("selection and storage")
    text = (
        "How a photograph is brought to size; crop: cut a 1024 x 1024 window; resize: shorter side to 1024, then crop; "
        "pad: longer side to 1024, padded only when sent to a model"
    )
    add_choice(pixels, "--fit", text, FITS, "crop")
    text = "Reject photographs that look like one in this release, a folder or URL; can be given several times"
    add_repeated(pixels, "--published", text, "RELEASE", dest="published")
    text = "Where a new workspace stores its images"
    add_text(pixels, "--images", text, "FOLDER_OR_URL", shown="in the workspace")
    fetching = parser.add_argument_group("fetching URLs")
    add_number(fetching, "--max-bytes", "Reject files larger than this", "BYTES", default=50_000_000, kind=int)
    add_number(
        fetching,
        "--seconds",
        "Give up on a file after this many seconds",
        "SECONDS",
        default=60.0,
        shown="60",
        kind=float,
        dest="fetch_timeout",
    )
    add_flag(fetching, "--allow-private", "Fetch from private addresses too")
    add_service(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.ingest import run as stage

    if options.workspace is None:  # --dataset takes the place of PHOTOS
        options.photos, options.workspace = None, options.photos
    return finish(stage.run(options.workspace, build(stage.IngestConfig, options), events=Terminal("ingest")))
