"""Make a dataset of your own photographs with the Python API, from a folder of photographs to training pairs.

    python examples/pipeline.py PHOTOS OUT --licence CC-BY-4.0

A stopped run, even one stopped by kill -9, continues when it is started again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ggt100k
from ggt_tools import Workspace, card, validate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path, default=ggt100k.sample_folder(), help="Folder of photographs.")
    parser.add_argument("out", nargs="?", type=Path, default=Path("made"), help="Folder to write to.")
    parser.add_argument("--licence", default="", help="Licence of photographs without a credit (SPDX).")
    parser.add_argument("--restorer", default="classical", help="Restorer as NAME or NAME:MODEL.")
    parser.add_argument("--test", type=float, default=0.25, help="Share of the pairs in the test split.")
    options = parser.parse_args()

    workspace = Workspace.create(options.out / "workspace")
    print(workspace.ingest(options.photos, licence=options.licence))
    print(workspace.restore(options.restorer))
    print(workspace.align())
    print(workspace.score())
    print(workspace.verdict())

    release = options.out / "ggt-100k"
    print(workspace.pack(release, test=options.test))
    validation = validate(release)
    print(validation)
    if not validation.is_valid:
        raise SystemExit(1)
    print(card(release))

    kept = {verdict.candidate for verdict in workspace.verdicts() if verdict.decision == "keep"}
    for photo in workspace.photos():
        candidates = [candidate for candidate in workspace.candidates() if candidate.key == photo.key]
        print(photo.file, photo.degradation, "kept" if any(c.id in kept for c in candidates) else "not kept")

    pairs = ggt100k.PairDataset(str(release), split="train", crop=256)
    pair = pairs[0]
    print(f"{len(pairs)} training pairs; the first: {pair['key']}, lq {pair['lq'].shape}, gt {pair['gt'].shape}")


if __name__ == "__main__":
    main()
