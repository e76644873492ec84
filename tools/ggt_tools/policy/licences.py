"""Names of licences: whether SPDX knows one, and which one was probably meant."""

from __future__ import annotations

from difflib import get_close_matches

MAX_SHOWN = 60  # characters of a licence in a message
COMMON = (  # licences that photographs and datasets have, which a misspelt name is compared with
    *("CC0-1.0", "CC-PDDC", "PDDL-1.0", "ODC-By-1.0", "ODbL-1.0"),
    *(f"CC-BY{kind}-{version}" for kind in ("", "-SA", "-NC", "-NC-SA", "-ND", "-NC-ND") for version in ("4.0", "3.0")),
    *("MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "GPL-3.0-only", "GPL-3.0-or-later", "Unlicense"),
)


def licence_warning(licence: str) -> str:
    """Return a warning where a licence is no SPDX identifier or expression; "" where it is one.

    Such a licence is stored all the same: `LicenseRef-NAME` is how SPDX names one that is not in its list.
    """
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        canonicalize_license_expression(licence)
    except InvalidLicenseExpression:
        shown = licence if len(licence) <= MAX_SHOWN else f"{licence[: MAX_SHOWN - 3]}..."
        near = _nearest("-".join(licence.upper().split()))
        hint = f"Did you mean {near}?" if near else "Write LicenseRef-NAME for a licence of another kind."
        return f"licence {shown!r} is not an SPDX identifier, so that readers cannot look it up. {hint}"
    return ""


def _nearest(name: str) -> str:
    """Return the common licence that a name in capital letters is most like; "" where none is."""
    names = {common.upper(): common for common in COMMON}
    near = [common for common in names if common.startswith(f"{name}-")]  # without its version
    near = near or get_close_matches(name, names, n=1, cutoff=0.75)
    return names[near[0]] if near else ""
