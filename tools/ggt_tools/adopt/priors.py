"""priors: adopted outputs as a further input of a network, whether or not they lie in their photographs' frames.

    lq/NAME.png      the photograph
    prior/NAME.png   what was made of it: in the frame where align brought it there, else stretched to its size
    gt/NAME.png      the truth: the set's own, else the ground truth that the gate keeps of the same photograph
    metadata.jsonl   the three names, the facts, and `prior_only`: 1 where the output is out of its frame

That is the use which arXiv 2505.05621 shows for outputs that look good and have drifted. They are no pairs of a
release, where any reader of its tars would train on them as ground truth: they have a folder of their own. A NAME is
the key and the start of the digest of what the file was made of.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from ggt_tools.ledger import write_whole
from ggt_tools.png import encode_png
from ggt_tools.records import Adopted, Aligned, Candidate, Photo
from ggt_tools.restore import FORMATS

SIDES = ("lq", "prior", "gt")


def priors(
    adopted: Iterable[Adopted],
    candidates: Mapping[str, Candidate],
    photos: Mapping[str, Photo],
    aligned: Mapping[str, Aligned],
    kept: Mapping[str, str],
    image: Callable[[str], bytes],
    out: Path,
    *,
    progress: Callable[[int], object] = lambda done: None,
) -> Counter[str]:
    """Writes the folder; how many are `aligned`, `prior` alone, and left out, as there is `no_truth` for them.

    `candidates` and `aligned` by candidate, `photos` and `kept` (the images that the gate keeps) by key; `image` gives
    an image's file by its name. A file that is there is not written again, metadata.jsonl comes last.
    """
    counts: Counter[str] = Counter()
    lines = []
    for side in SIDES:
        (out / side).mkdir(parents=True, exist_ok=True)
    for each in sorted(adopted, key=lambda one: (one.key, one.candidate)):
        progress(1)
        photo, fit = photos[each.key], aligned.get(each.candidate)
        truth = each.reference or kept.get(each.key, "")
        in_frame = fit.image if fit is not None else ""
        if not truth or truth == in_frame:
            counts["no_truth"] += 1
            continue
        counts["aligned" if in_frame else "prior"] += 1
        candidate = candidates[each.candidate]
        sources = {"lq": photo.image, "prior": in_frame or candidate.image, "gt": truth}
        names = {side: f"{side}/{each.key}-{source[:16]}.png" for side, source in sources.items()}
        for side, source in sources.items():
            if not (out / names[side]).exists():
                data = image(source)
                write_whole(out / names[side], data if side != "prior" or in_frame else _stretched(data, photo))
        facts = {
            "key": each.key,
            "set": each.set,
            "restorer": candidate.restorer,
            "degradation": photo.degradation,
            "licence": photo.licence,
            "author": photo.author,
            "url": photo.url,
            "local_only": each.local_only,
            "prior_only": int(not in_frame),
            "reason": fit.reason if fit is not None else "not_aligned",
            "true": int(bool(each.reference)),
        }
        lines.append(json.dumps({f"{side}_file_name": name for side, name in names.items()} | facts) + "\n")
    write_whole(out / "metadata.jsonl", "".join(lines).encode())
    return counts


def _stretched(data: bytes, photo: Photo) -> bytes:
    with Pillow.open(io.BytesIO(data), formats=FORMATS) as file:
        made = file.convert("RGB").resize((photo.width, photo.height), Pillow.Resampling.LANCZOS)
    return encode_png(np.asarray(made))
