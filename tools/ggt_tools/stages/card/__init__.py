"""card: the README, LICENSE, figures and Croissant file of a release, made of its manifest and its index alone.

files = card(open_root("ggt-100k"), "ORG/ggt-100k")  # README.md, LICENSE, croissant.json, figures/

The README's YAML lets plain `datasets` read the shards without our code: it names the tars of each split and config,
and the type of every field. `pack` writes the YAML with a short text below it; `card` makes the whole page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import datasets
import yaml

from ggt100k import features
from ggt_format.roots import Root
from ggt_format.schema import DEGRADATIONS, PRIOR, SPLITS, fact_columns
from ggt_format.shard import member_extensions
from ggt_tools.errors import ConfigError

if TYPE_CHECKING:
    from ggt_tools.stages.card.release import Release

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
FIGURES = ("figures/composition.png", "figures/funnel.png", "figures/sample.jpg", "figures/scores.png")
HUB = "https://huggingface.co/datasets"
IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9-]*", re.ASCII)  # of a data set at Papers with Code
PREVIEW_LINK = re.compile(
    rf"^\[Search, filter and chart the pairs\]\({HUB}/([\w.-]+/[\w.-]+)\)", re.ASCII | re.MULTILINE
)
SIZES = {"n<1K": 10**3, "1K<n<10K": 10**4, "10K<n<100K": 10**5, "100K<n<1M": 10**6, "1M<n<10M": 10**7}  # the Hub's


@dataclass(frozen=True, slots=True, kw_only=True)
class CardOptions:
    """What a maintainer adds to a card. The release does not hold it, so `read_options` takes it from a card.

    Attributes:
        preview: Repository of the preview that the card links, as ORG/ggt-100k-preview; "" for none.
        gated_prompt: What a user must agree to before the Hub gives the files; "" where the repository is open. The
            gate itself is a setting of the repository.
        paperswithcode_id: Identifier of the data set at Papers with Code; "" where it has none.
    """

    preview: str = ""
    gated_prompt: str = ""
    paperswithcode_id: str = ""

    def __post_init__(self) -> None:
        if self.preview and not REPOSITORY.fullmatch(self.preview):
            raise ConfigError(
                f"--preview {self.preview!r}: is not a repository name. Write it as ORG/NAME, for example "
                "ORG/ggt-100k-preview."
            )
        if self.paperswithcode_id and not IDENTIFIER.fullmatch(self.paperswithcode_id):
            raise ConfigError(
                f"--paperswithcode-id {self.paperswithcode_id!r}: is not an identifier. Write lower-case letters, "
                "digits and hyphens, for example ggt-100k."
            )
        if not all(c.isprintable() or c == "\n" for c in self.gated_prompt):
            raise ConfigError("--gated-prompt: holds control characters. Write plain text.")


CARD_OPTIONS = CardOptions()  # nothing is added


def read_options(readme: str) -> CardOptions:
    """Return the options that a card was written with. A README that is not a card gives the defaults."""
    head = re.match(r"---\n(.*?\n)---\n", readme, re.DOTALL)
    try:
        values = yaml.safe_load(head[1]) if head else {}
        values = values if isinstance(values, dict) else {}
        link = PREVIEW_LINK.search(readme)
        return CardOptions(
            preview=link[1] if link else "",
            gated_prompt=str(values.get("extra_gated_prompt", "")),
            paperswithcode_id=str(values.get("paperswithcode_id", "")),
        )
    except (yaml.YAMLError, ConfigError):
        return CardOptions()


def front_matter(metrics: Sequence[str], splits: Mapping[str, Sequence[str]], codec: str = "png") -> str:
    """Return the beginning of the README's YAML: what the schema decides. What depends on the counts comes after it.

    Args:
        metrics: Names of the metrics that have a column.
        splits: Degradations of each split that holds pairs.
        codec: Format of the images, "png" or "jpeg".
    """
    present = {name for names in splits.values() for name in names}
    degradations = [name for name in DEGRADATIONS if name in present]
    typed = plain_features(metrics, codec)._to_yaml_list()
    configs = []
    for config in ("all", *degradations):
        files = [
            {"split": split, "path": f"data/{'*' if config == 'all' else config}/{split}-*.tar"}
            for split in SPLITS
            if split in splits and (config == "all" or config in splits[split])
        ]
        configs.append({"config_name": config, "data_files": files} | ({"default": True} if config == "all" else {}))
    about = {
        "pretty_name": "GGT-100K",
        "license": "other",
        "license_name": "by-photograph",
        "license_link": "LICENSE",
        "task_categories": ["image-to-image"],
        "tags": ["image-restoration", "webdataset"],
        "configs": configs,
        "dataset_info": [
            {"config_name": config, "features": typed}  # one object: YAML writes it once and refers to it
            for config in ("all", *degradations)
        ],
    }
    return f"---\n{yaml.safe_dump(about, sort_keys=False)}"


def whole_front_matter(manifest: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> str:
    """Return the README's YAML, with the lines of dashes around it. `more`: further fields, which come last."""
    splits = {name: list(about["degradations"]) for name, about in manifest["splits"].items()}
    pair_count = sum(about["pairs"] for about in manifest["splits"].values())
    size = next((name for name, end in SIZES.items() if pair_count < end), "n>10M")
    last = yaml.safe_dump({"language": ["en"], "size_categories": [size], **(more or {})}, sort_keys=False)
    return f"{front_matter(manifest['metrics'], splits, manifest['codec'])}{last}---\n"


def plain_features(metrics: Sequence[str], codec: str = "png") -> datasets.Features:
    """Return the columns that the webdataset reader of `datasets` makes of a shard; named like the members."""
    typed = features(metrics)
    return datasets.Features(
        {
            "json": {name: typed[name] for name in fact_columns(metrics)},
            **{end: datasets.Image() for end in member_extensions(codec)[1:]},
            "__key__": datasets.Value("string"),
            "__url__": datasets.Value("string"),
        }
    )


def short_readme(manifest: Mapping[str, Any]) -> str:
    """Return the README that `pack` writes: the YAML, the counts, and how to load the pairs."""
    splits = list(manifest["splits"])
    rows = "".join(
        f"| {name} | {' | '.join(str(manifest['splits'][s]['degradations'].get(name, 0)) for s in splits)} |\n"
        for name in DEGRADATIONS
        if any(name in about["degradations"] for about in manifest["splits"].values())
    )
    names = ", ".join(f"`{{key}}.{end}`" for end in member_extensions(manifest["codec"]))
    head = f"| degradation | {' | '.join(splits)} |\n|---|{'---|' * len(splits)}\n"
    return (
        whole_front_matter(manifest)
        + f"\n# ggt-100k {manifest['dataset_version']}\n\n"
        + "Pairs of a real low-quality photograph (`lq`) and its generative ground truth (`gt`).\n\n"
        + head
        + rows
        + _priors_text(manifest)
        + "\n```python\nimport ggt100k  # pip install ggt100k\nfrom datasets import load_dataset\n\n"
        + 'pairs = load_dataset("ggt-100k", data_dir="FOLDER OR URL OF THIS REPOSITORY")\n```\n\n'
        + f"Plain `datasets`, webdataset and tar read `data/` as it is: {names}.\n"
        + "The licence of each photograph stands in its `json` and in the index.\n"
        + "The whole card: `ggt100k card FOLDER`.\n"
    )


def _priors_text(manifest: Mapping[str, Any]) -> str:
    if PRIOR not in manifest:
        return ""
    text = f"\nBesides: {manifest[PRIOR]['pairs']} visual priors, which are not pairs, in `data/*/prior-*.tar`.\n"
    if names := prior_only_degradations(manifest):
        text += (
            f'\nFor {", ".join(names)} there are only priors: `datasets` with `data_dir="data/{names[0]}"` returns\n'
            "them as its split `train`, although they are not training pairs. Use "
            '`ggt100k.PairDataset(..., "prior")`.\n'
        )
    return text


def prior_only_degradations(manifest: Mapping[str, Any]) -> list[str]:
    """Return the degradations of which a release has visual priors and no pair."""
    with_pairs = {name for about in manifest["splits"].values() for name in about["degradations"]}
    return [name for name in manifest[PRIOR]["degradations"] if name not in with_pairs] if PRIOR in manifest else []


def card(root: Root, repo: str, options: CardOptions = CARD_OPTIONS) -> dict[str, bytes]:
    """Return the files of the card by their names in the folder. Equal releases give equal bytes.

    Args:
        root: The release.
        repo: Its repository on the Hub, which the files name, as ORG/ggt-100k.
        options: What the maintainer adds.

    Raises:
        ConfigError: `repo` is not a repository, or jinja2 or matplotlib is not installed.
        ShardError: The index is not the one that the manifest describes.
    """
    from ggt_tools.stages.card.figures import composition, funnel, sample, scores

    release = _read_release(root, repo)
    figures = {"figures/composition.png": composition(release), "figures/sample.jpg": sample(release)}
    if release.funnel:
        figures["figures/funnel.png"] = funnel(release)
    if release.metrics:
        figures["figures/scores.png"] = scores(release)
    return figures | _text_files(release, options)


def card_texts(root: Root, repo: str, options: CardOptions = CARD_OPTIONS) -> dict[str, bytes]:
    """Return the files of the card that are text. As `card`, but matplotlib is not needed."""
    return _text_files(_read_release(root, repo), options)


def _read_release(root: Root, repo: str) -> Release:
    from ggt_tools.stages.card.release import Release

    if not REPOSITORY.fullmatch(repo):
        raise ConfigError(f"--repo {repo!r}: is not a repository name. Write it as ORG/NAME, for example ORG/ggt-100k.")
    return Release.read(root, repo)


def _text_files(release: Release, options: CardOptions) -> dict[str, bytes]:
    from ggt_tools.stages.card.croissant import croissant
    from ggt_tools.stages.card.page import licences, page

    return {
        "LICENSE": licences(release).encode(),
        "croissant.json": croissant(release).encode(),
        "README.md": page(release, options).encode(),  # last: it names all the others
    }
