"""The verb ingest."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ggt_format.schema import SOURCES
from ggt_tools.cli.shared import add_service, add_vlm, build
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
    dataset.add_argument("--column", default="image", help="Column that holds the images (default: image).")
    dataset.add_argument(
        "--config",
        dest="dataset_config",
        metavar="CONFIG",
        help="Configuration of the dataset (default: its only one).",
    )
    dataset.add_argument("--split", default="train", help="Split of the dataset (default: train).")
    dataset.add_argument("--revision", help="Branch, tag or commit of the dataset (default: main).")
    facts = parser.add_argument_group("facts of the photographs, where credits or list do not state them")
    facts.add_argument(
        "--licence", default="", help="Licence as an SPDX identifier; without any, a photograph is rejected."
    )
    facts.add_argument(
        "--source",
        default="",
        choices=SOURCES,
        help="Kind of source (default: internet for a list, dataset for a dataset, else captured).",
    )
    facts.add_argument("--source-name", default="", help="Name of the source, for example of the collection.")
    facts.add_argument(
        "--classes",
        default="classifier",
        choices=("classifier", "measured", "folder", "vlm"),
        help="Take the class from the classifier, a measurement, the folder's name, or a vision-language model "
        "(default: classifier; measured without onnxruntime).",
    )
    add_vlm(facts, "for --classes vlm")
    pixels = parser.add_argument_group("selection and storage")
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
        help="Reject photographs that look like one in this release, a folder or URL; can be given several times.",
    )
    pixels.add_argument(
        "--images",
        default="",
        metavar="FOLDER_OR_URL",
        help="Where a new workspace stores its images (default: in the workspace).",
    )
    fetching = parser.add_argument_group("fetching URLs")
    fetching.add_argument(
        "--max-bytes",
        type=int,
        default=50_000_000,
        metavar="BYTES",
        help="Reject files larger than this (default: 50000000).",
    )
    fetching.add_argument(
        "--seconds",
        dest="fetch_timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="Give up on a file after this many seconds (default: 60).",
    )
    fetching.add_argument("--allow-private", action="store_true", help="Fetch from private addresses too.")
    add_service(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.providers.service import ServiceConfig
    from ggt_tools.stages.ingest.run import IngestConfig
    from ggt_tools.stages.ingest.run import run as run_ingest

    values = vars(options)
    photos, workspace = options.photos, options.workspace
    if workspace is None:  # --dataset takes the place of PHOTOS
        photos, workspace = None, photos
    config = build(
        IngestConfig,
        values,
        photos=photos,
        published=tuple(options.published),
        service=build(ServiceConfig, values),
    )
    return finish(run_ingest(workspace, config, events=Terminal("ingest")))
