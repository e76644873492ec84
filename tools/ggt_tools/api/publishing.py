"""Functions that publish a release: card, site, push."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ggt_format.schema import REPO_ID
from ggt_tools.api.facts import checked_events
from ggt_tools.configs import build, convert
from ggt_tools.events import Events
from ggt_tools.summary import Summary

if TYPE_CHECKING:
    pass


def card(
    release: str | Path,
    *,
    repo: str = REPO_ID,
    preview: str = "",
    gated_prompt: str = "",
    paperswithcode_id: str = "",
    events: Events | None = None,
) -> Summary:
    """Write the README, licences, figures and Croissant file of a release.

    Args:
        release: Folder of the release.
        repo: Dataset repository on the Hub that the release will be in, as ORG/ggt-100k.
        preview: Repository of its preview, which the card links, as ORG/ggt-100k-preview; "" for none.
        gated_prompt: What a user must agree to before the Hub gives the files; "" where the repository is open.
        paperswithcode_id: Identifier of the data set at Papers with Code; "" where it has none.
        events: Where progress is reported; None for progress bars.
    """
    from ggt_tools.stages.card.run import CardConfig, run

    config = build(
        CardConfig, repo=repo, preview=preview, gated_prompt=gated_prompt, paperswithcode_id=paperswithcode_id
    )
    return run(convert("release", release, Path), config, events=checked_events(events))


def site(
    release: str | Path,
    out: str | Path,
    *,
    repo: str = REPO_ID,
    preview: str = "",
    hero: Sequence[str] = (),
    per_class: int = 8,
    codec: str = "webp",
    events: Events | None = None,
) -> Summary:
    """Write a static web page about a release, with sliders over its pairs.

    Args:
        release: Folder or fsspec URL of the release, or "sample".
        out: Folder of the site: a new one, or one that holds a site.
        repo: Repository on the Hub, which the examples on the page load, as ORG/ggt-100k.
        preview: Repository of the preview, which the page links; "" for none.
        hero: Keys of the pairs of the large slider; () for the first ones by key.
        per_class: Number of pairs that are shown of each class.
        codec: Format of the images, "webp" or "jpeg".
        events: Where progress is reported; None for progress bars.
    """
    from ggt_tools.stages.site import SiteConfig
    from ggt_tools.stages.site.run import run

    config = build(SiteConfig, repo=repo, preview=preview, hero=hero, per_class=per_class, codec=codec)
    return run(convert("release", release, str), convert("out", out, Path), config, events=checked_events(events))


def push(
    release: str | Path,
    repo: str,
    *,
    tag: str = "",
    pull_request: bool = False,
    preview: str = "",
    preview_folder: str | Path | None = None,
    dry_run: bool = False,
    events: Events | None = None,
) -> Summary:
    """Publish a release on the Hub: one commit, then the tag; then its preview in the same way.

    Args:
        release: Folder of a release that `validate` has passed.
        repo: Dataset repository, ORG/ggt-100k; it is created if need be.
        tag: Tag of the version, for example v1.1.0, which is never moved; "" for none.
        pull_request: Open a pull request, and leave main as it is.
        preview: Repository of a table of all pairs with small images, ORG/ggt-100k-preview; "" for none.
        preview_folder: Folder in which the preview is written; None for RELEASE-preview.
        dry_run: Only tell what would be done, in `Summary.plan`.
        events: Where progress is reported; None for progress bars.
    """
    from ggt_tools.stages.push import PushConfig
    from ggt_tools.stages.push.run import run

    config = build(
        PushConfig,
        repo=repo,
        tag=tag,
        pull_request=pull_request,
        preview=preview,
        preview_folder=preview_folder,
        dry_run=dry_run,
    )
    return run(convert("release", release, Path), config, events=checked_events(events))
