"""A page of the worst outputs: LQ image, output and GT image of each under one slider.

The page is one file that asks no server for anything. Its images are JPEGs of at most 1024 pixels, for the eye alone.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

import ggt_format
from ggt_format.schema import Image
from ggt_tools.stages.evaluate import Evaluation
from ggt_tools.stages.evaluate.outputs import find_outputs, read_output

MAX_SIDE = 1024
QUALITY = 90  # of the JPEGs
SIDES = ("lq", "output", "gt")
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px; padding: 0 1rem; color: #222;
 background: #fff }}
article {{ margin: 0 0 3rem }}
h2 {{ font-size: 1.1rem; margin: 0 }}
.values {{ color: #555; margin: 0 0 .5rem }}
.pair {{ position: relative; width: fit-content; max-width: 100% }}
.pair img {{ display: block; max-width: 100% }}
.pair img + img {{ position: absolute; inset: 0; clip-path: inset(0 0 0 var(--cut, 50%)) }}
input[type=range] {{ width: 100%; max-width: {max_side}px }}
@media (prefers-color-scheme: dark) {{ body {{ color: #ddd; background: #161616 }} .values {{ color: #aaa }} }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{intro}</p>
{articles}
<script>
for (const article of document.querySelectorAll("article")) {{
  const [left, right] = article.querySelectorAll("img");
  const images = {{}};
  for (const image of article.querySelectorAll("template")) images[image.dataset.side] = image.innerHTML.trim();
  const show = () => {{
    const [first, second] = [...article.querySelectorAll("select")].map((select) => select.value);
    left.src = images[first]; left.alt = first;
    right.src = images[second]; right.alt = second;
  }};
  for (const select of article.querySelectorAll("select")) select.addEventListener("change", show);
  const range = article.querySelector("input");
  range.addEventListener("input", () => right.style.setProperty("--cut", range.value + "%"));
  show();
}}
</script>
</body>
</html>
"""
_ARTICLE = """<article>
<h2>{number}. {degradation}, <code>{key}</code></h2>
<p class="values">{values}</p>
<p><label>Left <select>{left}</select></label> <label>Right <select>{right}</select></label></p>
<div class="pair"><img alt=""><img alt=""></div>
<label>Place of the edge <input type="range" min="0" max="100" value="50"></label>
{templates}
</article>"""


def worst_page(root: str | Path, outputs: Path, evaluation: Evaluation) -> str:
    """Return the page of the worst outputs, the worst first.

    Args:
        root: Folder or URL of the release.
        outputs: Folder of the outputs.
        evaluation: What was measured of them.
    """
    files, _, _ = find_outputs(outputs, evaluation.worst)
    order = {key: number for number, key in enumerate(evaluation.worst)}
    articles: dict[int, str] = {}
    for pair in ggt_format.PairDataset(root, evaluation.split, where={"key": list(evaluation.worst)}):
        key = pair["key"]
        images = {"lq": pair["lq"], "output": read_output(files[key], pair["gt"].shape), "gt": pair["gt"]}
        articles[order[key]] = _article(order[key] + 1, pair, images, evaluation.values[key])
    name = Path(evaluation.model).name
    return _PAGE.format(
        title=html.escape(f"The worst outputs of {name}"),
        intro=html.escape(
            f"{len(articles)} of {len(evaluation.values)} outputs that were measured, by {evaluation.metrics[0]}. The "
            "images are JPEGs for viewing; the values are those of the files."
        ),
        articles="\n".join(articles[number] for number in sorted(articles)),
        max_side=MAX_SIDE,
    )


def _article(number: int, pair: Mapping[str, object], images: Mapping[str, Image], values: Mapping[str, float]) -> str:
    shown = ", ".join(f"{metric} {value:.4g}" for metric, value in values.items() if not math.isnan(value))
    return _ARTICLE.format(
        number=number,
        degradation=html.escape(str(pair["degradation"]).replace("_", " ")),
        key=html.escape(str(pair["key"])),
        values=html.escape(shown),
        left=_options("output"),
        right=_options("gt"),
        templates="\n".join(f'<template data-side="{side}">{_data_url(images[side])}</template>' for side in SIDES),
    )


def _options(selected: str) -> str:
    names = {"lq": "LQ image", "output": "output", "gt": "GT image"}
    return "".join(
        f'<option value="{side}"{" selected" if side == selected else ""}>{names[side]}</option>' for side in SIDES
    )


def _data_url(pixels: Image) -> str:
    image = Pillow.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((MAX_SIDE, MAX_SIDE), Pillow.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
