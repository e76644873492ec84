"""Write the card of a release into its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ggt_format.roots import open_root
from ggt_format.schema import REPO_ID
from ggt_tools.errors import ConfigError
from ggt_tools.events import SILENT, Events
from ggt_tools.stages.card import REPOSITORY, CardOptions, card
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class CardConfig:
    """What a card says besides what the release holds.

    Attributes:
        repo: Dataset repository on the Hub that the release will be in, as ORG/ggt-100k.
        preview: Repository of its preview, which the card links, as ORG/ggt-100k-preview; "" for none.
        gated_prompt: What a user must agree to before the Hub gives the files; "" where the repository is open.
        paperswithcode_id: Identifier of the data set at Papers with Code; "" where it has none.
    """

    repo: str = REPO_ID
    preview: str = ""
    gated_prompt: str = ""
    paperswithcode_id: str = ""

    @property
    def options(self) -> CardOptions:
        """What the maintainer adds to the card."""
        return CardOptions(
            preview=self.preview, gated_prompt=self.gated_prompt, paperswithcode_id=self.paperswithcode_id
        )

    def __post_init__(self) -> None:
        _ = self.options  # checks them
        if not REPOSITORY.fullmatch(self.repo):
            raise ConfigError(
                f"--repo {self.repo!r}: is not a repository name. Write it as ORG/NAME, for example ORG/ggt-100k."
            )


def run(release: str | Path, config: CardConfig, *, events: Events = SILENT) -> Summary:
    """Write README.md, LICENSE, croissant.json and the figures; files that are right already stay as they are.

    Args:
        release: Folder of the release.
        config: What the card says.
        events: Not used: there is nothing to report.

    Returns:
        How many files changed; `Summary.paths` names them.

    Raises:
        ConfigError: `release` is a URL or no release, or jinja2 or matplotlib is not installed.
        ShardError: The index is not the one that the manifest describes.
    """
    if "://" in str(release):
        raise ConfigError(f"{release}: is a URL, and a card is written into a folder. Download the release first.")
    root = open_root(str(release))
    files = card(root, config.repo, config.options)
    changed = []
    for name, data in files.items():
        path = Path(root.url) / name
        path.parent.mkdir(exist_ok=True)
        if not path.is_file() or path.read_bytes() != data:
            write_whole(path, data)
            changed.append(str(path))
    return Summary(
        stage="card",
        counts={"changed": len(changed), "unchanged": len(files) - len(changed)},
        notes=(f"{release}: {', '.join(files)}",),
        paths=tuple(changed),
    )
