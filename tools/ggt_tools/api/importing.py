"""The stages that import photographs and pairs: ingest and adopt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ggt_tools.api.facts import SERVICE, Facts
from ggt_tools.configs import build
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.summary import Summary


class Importing(Facts):
    """Methods that import photographs and pairs."""

    def ingest(
        self,
        photos: str | Path | None = None,
        *,
        dataset: str = "",
        column: str = "image",
        dataset_config: str | None = None,
        split: str = "train",
        revision: str | None = None,
        licence: str = "",
        source: str = "",
        source_name: str = "",
        classes: str = "classifier",
        vlm: str = "gemini",
        service: ServiceConfig = SERVICE,
        fit: str = "crop",
        flags: Sequence[str] = (),
        flag_models: Mapping[str, str] | None = None,
        published: Sequence[str | Path] = (),
        max_bytes: int = 50_000_000,
        fetch_timeout: float = 60.0,
        allow_private: bool = False,
        limit: int | None = None,
        dry_run: bool = False,
    ) -> Summary:
        """Import photographs.

        Args:
            photos: Folder, tar or zip of photographs, with a credits.csv in it if there is one; or a list of URLs
                (.csv, .jsonl, .parquet with a column url). None with `dataset`.
            dataset: Name of a dataset on the Hub, in the place of `photos`.
            column: Column of the dataset that holds the images.
            dataset_config: Configuration of the dataset; None for its only one.
            split: Split of the dataset.
            revision: Branch, tag or commit of the dataset; None for the main branch.
            licence: Licence as an SPDX identifier, where credits or list state none; without any, a photograph is
                rejected.
            source: Kind of source: dataset, internet or captured; "" for internet with a list, dataset with a dataset,
                and captured otherwise.
            source_name: Name of the source, for example of the collection.
            classes: How the class is found where nothing states it: "classifier", "measured", "folder" or "vlm".
            vlm: Vision-language model for "vlm", as PROVIDER or PROVIDER:MODEL.
            service: How that model is called, and what that may cost.
            fit: How a photograph becomes at most 1024 x 1024: "crop", "resize" or "pad".
            flags: Names of checks whose flags are stored for every photograph: "faces".
            flag_models: By name of a flag, the ONNX file of a model of yours, which returns a probability.
            published: Folders or URLs of releases; photographs that resemble one in them are rejected.
            max_bytes: Largest size of a file that is fetched.
            fetch_timeout: Seconds after which the download of a file is given up.
            allow_private: Whether files are also fetched from private addresses.
            limit: Import at most this many photographs.
            dry_run: Only tell what would be done, in `Summary.plan`.

        Raises:
            ConfigError: The source cannot be read as a whole, or an option does not fit it.
        """
        from ggt_tools.stages.ingest.run import IngestConfig, run

        config = build(
            IngestConfig,
            photos=photos,
            dataset=dataset,
            column=column,
            dataset_config=dataset_config,
            split=split,
            revision=revision,
            licence=licence,
            source=source,
            source_name=source_name,
            classes=classes,
            vlm=vlm,
            service=service,
            fit=fit,
            flags=flags,
            flag_models=flag_models or {},
            published=published,
            max_bytes=max_bytes,
            fetch_timeout=fetch_timeout,
            allow_private=allow_private,
            limit=limit,
            dry_run=dry_run,
        )
        return run(self.path, config, events=self.events)

    def adopt(
        self,
        set: str,
        *,
        root: str | Path | None = None,
        subtrees: Sequence[str] = (),
        layout: str | Path | None = None,
        test_list: str | Path = "",
        class_names: Mapping[str, str] | None = None,
        outputs: str | Path | None = None,
        originals: str | Path | None = None,
        refs: str | Path | None = None,
        map: str | Path | None = None,
        meta_info: str | Path | None = None,
        pairs: str | Path = "",
        images: str | Path | None = None,
        suffixes: Sequence[str] = (),
        columns: Sequence[str] = (),
        dataset_config: str | None = None,
        split: str = "train",
        revision: str | None = None,
        restorer: str = "",
        licence: str = "",
        local_only: str = "",
        degradation: str = "",
        author: str = "",
        url: str = "",
        source_name: str = "",
        threads: int = 0,
        limit: int | None = None,
        dry_run: bool = False,
        csv: str | Path | None = None,
    ) -> Summary:
        """Import pairs that were made elsewhere: `root`, or `outputs` and `originals`, or `pairs`.

        Args:
            set: Known set, such as ggt-100k or gpt4o-restore/rain800, or a name of your own.
            root: Folder, archive or URL of a release that holds both sides.
            subtrees: Read only what is below these paths of `root`.
            layout: Mapping file that states how the two images of a pair are named in `root`.
            test_list: Published list of the test split: a file of `root`, or one on this machine.
            class_names: Classes that names of folders or types of a manifest stand for.
            outputs: Folder, zip, tar or URL of the restored images; of an archive in parts, any part.
            originals: The same of the degraded photographs; it may hold the true ground truths too.
            refs: The same of the true ground truths, if they are separate.
            map: CSV with the columns original and output, and optionally class: only its pairs are imported.
            meta_info: Meta info text of BasicSR that lists the files of both sides.
            pairs: Both sides together: a folder or zip with `suffixes`, one with metadata.jsonl, a manifest (.json,
                .jsonl or .csv), a parquet file, a tar, or the name of a dataset on the Hub.
            images: Folder or zip that the file names of a manifest are relative to; None for the manifest's folder.
            suffixes: Ends of the file names of LQ image, ground truth and, optionally, true ground truth.
            columns: Columns of the same; empty to find them by their usual names.
            dataset_config: Configuration of a dataset on the Hub; None for its only one.
            split: Split of a dataset on the Hub.
            revision: Branch, tag or commit of a dataset on the Hub; None for the main branch.
            restorer: Model that made the outputs; "" for that of a known set.
            licence: Licence of the set as an SPDX identifier; "" where it is not stated: then nothing can be pushed.
            local_only: Why nothing of the set may be pushed; "" where its licence decides.
            degradation: Class of the pairs that have none of their own; "folder" to leave out pairs whose folders name
                none; "" for that of a known set, or else mixed.
            author: Author of the photographs.
            url: Address of the set.
            source_name: Name of the source; "" for the title of the set.
            threads: Pairs that are read and decoded at a time; 0 for one on each core.
            limit: Import at most this many pairs.
            dry_run: Only tell what would be done, in `Summary.plan`.
            csv: With `dry_run`, a file to which the pairs and what is not matched are written.

        Raises:
            ConfigError: The set cannot be read as a whole, or an option does not fit it.
        """
        from ggt_tools.stages.adopt.run import AdoptConfig, run

        config = build(
            AdoptConfig,
            set=set,
            root=root,
            subtrees=subtrees,
            layout=layout,
            test_list=test_list,
            class_names=class_names or {},
            outputs=outputs,
            originals=originals,
            refs=refs,
            map=map,
            meta_info=meta_info,
            pairs=pairs,
            images=images,
            suffixes=suffixes,
            columns=columns,
            dataset_config=dataset_config,
            split=split,
            revision=revision,
            restorer=restorer,
            licence=licence,
            local_only=local_only,
            degradation=degradation,
            author=author,
            url=url,
            source_name=source_name,
            threads=threads,
            limit=limit,
            dry_run=dry_run,
            csv=csv,
        )
        return run(self.path, config, events=self.events)
