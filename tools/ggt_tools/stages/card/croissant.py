"""The description of a release in MLCommons' vocabulary (Croissant 1.1, https://docs.mlcommons.org/croissant/docs/).

Each split has three record sets: its facts, one record for each row of the index (`train`), and its images by key
(`train-lq`, `train-gt`). mlcroissant cannot join two sets of files in one record: it would read the first set's file
for both.

A file is named by its URL under the tag of the version, not by a path relative to croissant.json: mlcroissant caches
what it has unpacked under that name, and would take a shard of another release for one of this. `mapping=` lets it read
a folder on disk.
"""

from __future__ import annotations

import json
from typing import Any

from ggt_format.schema import CODECS, PREFERENCE_INDEX, fact_columns, index_schema
from ggt_tools.stages.card import HUB
from ggt_tools.stages.card.release import Release
from ggt_tools.stages.card.responsible import provenance, responsible_ai, usage_terms
from ggt_tools.stages.card.text import plain

CITE = "Kong, Zhao, Sun, Wu, Zhang: GGT-100K. arXiv:2605.31039"
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "cc": "http://creativecommons.org/ns#",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "odrl": "http://www.w3.org/ns/odrl/2/",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(release: Release) -> str:
    """Return the JSON-LD of a release."""
    manifest, priors = release.root.manifest, release.priors
    files = [_file(release, f"index/{s}.parquet", about["index"]) for s, about in release.root.indices.items()]
    files += [_file(release, name, about) for name, about in sorted(manifest["shards"].items())]
    if preferences := manifest.get("preferences"):
        files.append(_file(release, PREFERENCE_INDEX, preferences["index"]))
        files += [_file(release, name, about) for name, about in sorted(preferences["shards"].items())]
    sets = [_image_files(release, split, side) for split in release.splits for side in ("lq", "gt")]
    page = f"{HUB}/{release.repo}"
    about: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": "ggt-100k",
        "description": "Pairs of a real low-quality photograph (lq) and its generative ground truth (gt), "
        "for real-world image restoration.",
        "url": page,
        "version": release.version,
        "license": [plain(licence) for licence in release.licences | (priors.licences if priors else {})],
        "creator": {"@type": "sc:Organization", "name": release.repo.split("/")[0], "url": page},
        "dateModified": release.span("created")[1][:10],
        "keywords": ["image restoration", "generative ground truth", *release.degradations],
        "citeAs": CITE,
        "usageInfo": usage_terms(release),
        **provenance(release),
        **responsible_ai(release),
        "distribution": [*files, *sets],
        "recordSet": [
            record for split in release.splits for record in (_fact_records(release, split), *_image_records(split))
        ],
    }
    if release.published:
        about["datePublished"] = release.published
    return json.dumps(about, indent=1, ensure_ascii=False) + "\n"


def _file(release: Release, name: str, about: Any) -> dict[str, Any]:
    """Return the entry of a file. Its id is its name in the folder."""
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": f"{HUB}/{release.repo}/resolve/v{release.version}/{name}",
        "contentSize": f"{about['bytes']} B",
        "encodingFormat": "application/x-parquet" if name.endswith(".parquet") else "application/x-tar",
        "sha256": about["sha256"],
    }


def _image_files(release: Release, split: str, side: str) -> dict[str, Any]:
    shards = [name for name in sorted(release.root.manifest["shards"]) if f"/{split}-" in name]
    return {
        "@type": "cr:FileSet",
        "@id": f"{split}-{side}-files",
        "containedIn": [{"@id": name} for name in shards],
        "encodingFormat": f"image/{release.codec}",
        "includes": f"*.{side}.{CODECS[release.codec]}",
    }


def _fact_records(release: Release, split: str) -> dict[str, Any]:
    """Return the record set of the facts: one record for each pair, the columns of the index that are facts."""
    source: dict[str, Any] = {"fileObject": {"@id": f"index/{split}.parquet"}}
    schema = index_schema(release.metrics)
    fields: list[dict[str, Any]] = []
    for name in fact_columns(release.metrics):
        if name != "scores":
            kind = str(schema.field(name).type)
            field = {
                "@type": "cr:Field",
                "@id": f"{split}/{name}",
                "dataType": "sc:Integer" if kind == "int32" else "sc:Text",
                "source": source | {"extract": {"column": name}},
            }
            fields.append(field | ({"repeated": True} if kind.startswith("list") else {}))
    scores = [
        {
            "@type": "cr:Field",
            "@id": f"{split}/scores/{metric}",
            "dataType": "sc:Float",
            "source": source | {"extract": {"column": "scores"}, "transform": {"jsonPath": metric}},
        }
        for metric in release.metrics
    ]
    if scores:
        fields.append({"@type": "cr:Field", "@id": f"{split}/scores", "subField": scores})
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "description": f"What is known of each pair of the split {split}.",
        "key": {"@id": f"{split}/key"},
        "field": fields,
    }


def _image_records(split: str) -> list[dict[str, Any]]:
    """Return the record sets of the images: one record for each image, with the key of its pair."""
    records = []
    for side, noun in (("lq", "The real low-quality photograph"), ("gt", "The generative ground truth")):
        source = {"fileSet": {"@id": f"{split}-{side}-files"}}
        name = f"{split}-{side}"
        derived = (
            {"prov:wasDerivedFrom": {"@id": f"{split}-lq/image"}, "prov:wasGeneratedBy": {"@id": "restoration"}}
            if side == "gt"
            else {}
        )
        key = {"extract": {"fileProperty": "filename"}, "transform": {"regex": r"^([0-9a-f]{16})\..*$"}}
        records.append(
            {
                "@type": "cr:RecordSet",
                "@id": name,
                "description": f"{noun} of each pair of the split {split}.",
                "key": {"@id": f"{name}/key"},
                "field": [
                    {"@type": "cr:Field", "@id": f"{name}/key", "dataType": "sc:Text", "source": source | key},
                    {
                        "@type": "cr:Field",
                        "@id": f"{name}/image",
                        "dataType": "sc:ImageObject",
                        "source": source | {"extract": {"fileProperty": "content"}},
                        **derived,
                    },
                ],
            }
        )
    return records
