"""Where the pairs of a release come from and how they may be used, in the vocabularies that Croissant 1.1 recommends.

provenance     W3C PROV-O, https://www.w3.org/TR/prov-o/
terms of use   W3C ODRL, https://www.w3.org/TR/odrl-model/, in schema.org's usageInfo
the rest       Croissant RAI 1.0, http://mlcommons.org/croissant/RAI/1.0

Everything is counted in the release, or holds for every release that these tools make.
"""

from __future__ import annotations

import re
from typing import Any

from ggt_tools.stages.card import HUB
from ggt_tools.stages.card.release import Release
from ggt_tools.stages.card.text import plain

MAX_SOURCES = 40  # entities that the dataset was derived from; the index names all
CREATIVE_COMMONS = re.compile(r"CC-BY(?P<terms>(?:-(?:NC|SA|ND))*)-[0-9.]+(?:-[A-Z]+)?", re.ASCII)
PUBLIC_DOMAIN = re.compile(r"CC0-1\.0|PDM-1\.0|Unlicense|0BSD", re.ASCII)
USE_CASES = (
    "Training and evaluation of models that restore real photographs, with pairs or with selections of them.",
    "Not validated: forensic or medical use, identification of people, and any use that takes a restored detail for "
    "evidence of the scene.",
)
LIMITATIONS = (
    "A generated ground truth is a plausible restoration, not a measurement of the scene.",
    "The gate that chose the pairs uses automatic metrics, each of which has faults that it does not see.",
)
BIASES = (
    "The photographs lean to what their sources show: places, cameras and subjects are not balanced.",
    "What a restorer does badly is in all pairs that it made.",
)
PREPROCESSING = (
    "Photographs are converted to 8-bit sRGB, brought to at most 1024 x 1024 pixels, and compared by perceptual hash, "
    "so that near duplicates are left out.",
    "Restorations are aligned to their photographs.",
)
MAINTENANCE = (
    "Versions have numbers and tags, and no version is changed after it was published. A pair whose author or subject "
    "asks for it is withdrawn from the next version."
)


def provenance(release: Release) -> dict[str, Any]:
    """Return the PROV-O properties of the dataset: its sources, and the restoration with its software."""
    sources = [
        {
            "@type": "prov:Entity",
            "prov:label": plain(source.name) or f"{source.kind} without a name",
            "description": f"{source.pairs} photographs, {plain(source.licence)}",
        }
        for source in release.sources[:MAX_SOURCES]
    ]
    first, last = release.span("created")
    return {
        "prov:wasDerivedFrom": sources,
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "@id": "restoration",
            "prov:label": "Restoration of the photographs, alignment, measurement, and choice by the gate",
            "prov:startedAtTime": first,
            "prov:endedAtTime": last,
            "prov:wasAssociatedWith": [
                {"@type": "prov:SoftwareAgent", "prov:label": plain(restorer)}
                for restorer in dict.fromkeys(row[0] for row in release.restorers)
            ],
        },
    }


def usage_terms(release: Release) -> list[dict[str, Any]]:
    """Return an offer for each licence: what it permits, on which duties. Only of licences that are understood."""
    terms = []
    for licence in release.licences:
        offer: dict[str, Any] = {
            "@type": ["CreativeWork", "odrl:Offer"],
            "name": f"Pairs under {plain(licence)}",
            "url": f"{HUB}/{release.repo}/blob/v{release.version}/LICENSE",
        }
        match = CREATIVE_COMMONS.fullmatch(licence)
        if match or PUBLIC_DOMAIN.fullmatch(licence):
            conditions = set(filter(None, match["terms"].split("-"))) if match else set()
            actions = [
                "odrl:use",
                "odrl:reproduce",
                "odrl:distribute",
                *([] if "ND" in conditions else ["odrl:derive"]),
            ]
            permission: dict[str, Any] = {
                "@type": "odrl:Permission",
                "odrl:action": [{"@id": name} for name in actions],
            }
            duties = ["odrl:attribute"] if match else []
            duties += ["odrl:shareAlike"] if "SA" in conditions else []
            if duties:
                permission["odrl:duty"] = [
                    {
                        "@type": "odrl:Duty",
                        "odrl:action": {"@id": name if name != "odrl:shareAlike" else "cc:ShareAlike"},
                    }
                    for name in duties
                ]
            offer["odrl:permission"] = permission
            if "NC" in conditions:
                offer["odrl:prohibition"] = {"@type": "odrl:Prohibition", "odrl:action": {"@id": "cc:CommercialUse"}}
        terms.append(offer)
    return terms


def responsible_ai(release: Release) -> dict[str, Any]:
    """Return the RAI properties of the dataset."""
    kinds = ", ".join(f"{sum(numbers)} {kind}" for kind, numbers in release.kinds.items())
    restorers = [f"{plain(name)}, prompts: {plain(strategy)}" for name, strategy, _, _ in release.restorers]
    reviewed = f"Reviewers voted on {release.reviewed} of the {release.pairs} pairs that were kept."
    span = sorted({day[:10] for day in release.span("created")})
    return {
        "rai:dataCollection": f"Real low-quality photographs by kind of source: {kinds}.",
        "rai:dataCollectionType": ["Secondary data analysis" if "dataset" in release.kinds else "Observations"],
        "rai:dataCollectionTimeFrame": span,
        "rai:dataPreprocessingProtocol": list(PREPROCESSING),
        "rai:dataAnnotationProtocol": [
            "A model restores each photograph, and a gate of thresholds decides which restoration is kept.",
            reviewed,
        ],
        "rai:machineAnnotationTools": restorers,
        "rai:annotationsPerItem": "One ground truth for each photograph.",
        "rai:dataLimitations": list(LIMITATIONS),
        "rai:dataBiases": list(BIASES),
        "rai:dataUseCases": list(USE_CASES),
        "rai:personalSensitiveInformation": [people_statement(release)],
        "rai:dataReleaseMaintenancePlan": MAINTENANCE,
    }


def people_statement(release: Release) -> str:
    """Return what is known of people in the photographs."""
    faces = release.flags("lq").get("faces")
    if faces is None:
        return "Photographs may show people; whether they show faces was not checked."
    return (
        f"Photographs may show people: a detector found faces in {faces.flagged} of the {faces.checked} photographs "
        "that were checked."
    )
