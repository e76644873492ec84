"""The reason codes: what each means, and what to do. docs/reasons.md and `ggt100k reasons` show them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import NamedTuple

from ggt_tools.errors import ConfigError


class Reason(NamedTuple):
    """A reason code of a stage."""

    stage: str  # the command that gives it
    code: str
    meaning: str
    hint: str  # what to do


REASONS = (
    Reason(
        "ingest",
        "no_licence",
        "Neither the credits nor `--licence` state a licence.",
        "Add it to credits.csv, or pass `--licence`.",
    ),
    Reason(
        "ingest",
        "not_an_image",
        "The file is not an image that can be decoded.",
        "Convert it to PNG or JPEG.",
    ),
    Reason(
        "ingest",
        "damaged",
        "Pixels are missing, although the end marker closes the file.",
        "Fetch it again.",
    ),
    Reason(
        "ingest",
        "unsupported_mode",
        "The pixels cannot be converted to 8-bit sRGB, for example transparency or high dynamic range.",
        "Convert it.",
    ),
    Reason(
        "ingest",
        "unsupported_format",
        "The image format is not accepted.",
        "Convert it to PNG or JPEG.",
    ),
    Reason(
        "ingest",
        "too_small",
        "The shorter side has too few pixels.",
        "Use a larger photograph.",
    ),
    Reason(
        "ingest",
        "too_large",
        "The file or the image exceeds the limit.",
        "Crop it, or raise the limit.",
    ),
    Reason(
        "ingest",
        "too_flat",
        "The picture shows almost nothing.",
        "Leave it out.",
    ),
    Reason(
        "ingest",
        "screenshot",
        "The picture was drawn by a computer, or panels and buttons are drawn over it.",
        "Leave it out.",
    ),
    Reason(
        "ingest",
        "unreadable",
        "The file could not be read.",
        "Check the file and its permissions.",
    ),
    Reason(
        "ingest",
        "bad_name",
        "The file name contains characters that are not allowed.",
        "Rename it.",
    ),
    Reason(
        "ingest",
        "duplicate_name",
        "Two files have the same name.",
        "Rename one.",
    ),
    Reason(
        "ingest",
        "link",
        "The archive member is a link.",
        "Pack the file itself.",
    ),
    Reason(
        "ingest",
        "encrypted",
        "The archive is encrypted.",
        "Decrypt it.",
    ),
    Reason(
        "ingest",
        "bomb",
        "The member expands to far more than its size suggests.",
        "Leave it out.",
    ),
    Reason(
        "ingest",
        "duplicate",
        "The same pixels are already imported.",
        "Leave it out.",
    ),
    Reason(
        "ingest",
        "near_duplicate",
        "A photograph that looks the same, and is not smaller, is imported or published.",
        "Leave it out.",
    ),
    Reason(
        "ingest",
        "no_class",
        "No class could be determined.",
        "Name the class in credits.csv.",
    ),
    Reason(
        "ingest",
        "bad_url",
        "The URL is not http or https, or its address is not public.",
        "Correct the list.",
    ),
    Reason(
        "ingest",
        "not_served",
        "The server answered with an error.",
        "Check the URL.",
    ),
    Reason(
        "ingest",
        "unreachable",
        "The server could not be reached.",
        "Try again later.",
    ),
    Reason(
        "adopt",
        "no_original",
        "An output has no photograph of the same name.",
        "Add it, or leave the output out.",
    ),
    Reason(
        "adopt",
        "no_output",
        "A photograph has no output of the same name.",
        "Add it, or leave the photograph out.",
    ),
    Reason(
        "adopt",
        "no_ground_truth",
        "The set's own ground truth is missing for this pair.",
        "Add it.",
    ),
    Reason(
        "adopt",
        "no_role",
        "The folder names do not say which side is which.",
        "Name the folders, or use `--map`.",
    ),
    Reason(
        "adopt",
        "ambiguous",
        "Several files match.",
        "Use `--map`.",
    ),
    Reason(
        "adopt",
        "taken",
        "The file already belongs to another pair.",
        "Use `--map`.",
    ),
    Reason(
        "adopt",
        "link",
        "The archive member is a link.",
        "Pack the file itself.",
    ),
    Reason(
        "adopt",
        "encrypted",
        "The archive is encrypted.",
        "Decrypt it.",
    ),
    Reason(
        "adopt",
        "damaged",
        "The archive, or an image in it, is damaged.",
        "Fetch it again.",
    ),
    Reason(
        "adopt",
        "bomb",
        "The member expands to far more than its size suggests.",
        "Leave it out.",
    ),
    Reason(
        "adopt",
        "no_image",
        "The pair has no image.",
        "Add it.",
    ),
    Reason(
        "restore",
        "refused",
        "The provider's policy refused the request.",
        "Use another prompt or restorer.",
    ),
    Reason(
        "restore",
        "no_image",
        "The reply holds no image.",
        "Run `ggt100k retry`.",
    ),
    Reason(
        "restore",
        "not_an_image",
        "The reply's image cannot be decoded.",
        "Run `ggt100k retry`.",
    ),
    Reason(
        "restore",
        "damaged",
        "Pixels of the result are missing, although the end marker closes the file.",
        "Run `ggt100k retry`, or replace the file.",
    ),
    Reason(
        "restore",
        "no_result",
        "No result for this photograph was found in the folder.",
        "Add it, then `ggt100k retry`.",
    ),
    Reason(
        "restore",
        "bad_request",
        "The provider rejected the request as invalid.",
        "Check the options.",
    ),
    Reason(
        "restore",
        "bad_reply",
        "The reply does not have the expected form.",
        "Run `ggt100k retry`.",
    ),
    Reason(
        "restore",
        "expired",
        "A batch job expired.",
        "Run `ggt100k retry`.",
    ),
    Reason(
        "restore",
        "model_failed",
        "The local model raised an error.",
        "See the log.",
    ),
    Reason(
        "restore",
        "rate_limited",
        "The provider limited the rate of requests beyond all retries.",
        "Run `ggt100k retry`.",
    ),
    Reason(
        "restore",
        "server_error",
        "The server failed beyond all retries.",
        "Run `ggt100k retry`.",
    ),
    Reason(
        "restore",
        "timeout",
        "The call took too long, in every attempt.",
        "Run `ggt100k retry`.",
    ),
    Reason(
        "restore",
        "cut_off",
        "The connection was cut, in every attempt.",
        "Run `ggt100k retry`.",
    ),
    Reason(
        "restore",
        "unavailable",
        "The service was not available, in every attempt.",
        "Run `ggt100k retry`.",
    ),
    Reason(
        "restore",
        "account",
        "A request of a batch job failed for the account: its key, quota, credit or country.",
        "Settle it with the provider, then `ggt100k retry`.",
    ),
    Reason(
        "align",
        "aspect_changed",
        "The reply has another aspect ratio, and no fit explains it.",
        "Another seed or restorer.",
    ),
    Reason(
        "align",
        "misaligned",
        "The view has certainly moved beyond the bounds, or most of it is off and no one motion brings it back.",
        "Ask for the same framing and viewpoint.",
    ),
    Reason(
        "align",
        "transparent",
        "The reply has transparent areas.",
        "Another seed or restorer.",
    ),
    Reason(
        "screen",
        "roles_confused",
        "The model confused photograph and candidate.",
        "Use another model.",
    ),
    Reason(
        "verdict",
        "not_the_same_scene",
        "The candidate shows another scene.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "unfaithful",
        "Several facts together make it probable that the candidate is unfaithful.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "light_changed",
        "The light falls otherwise than in the photograph.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "contrast_changed",
        "The contrast became harsher than the photograph bears.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "smooth_areas_changed",
        "Faint structure of a sky or a wall is gone or other.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "ringing",
        "Edges have ripples that the photograph has not.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "overlay_stays",
        "Rain, snow, drops, a reflection or scratches are still there.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "cast_stays",
        "The colour cast of the water is still there.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "text_changed",
        "A line of text was added, lost or altered.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "face_changed",
        "A face may show someone else.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "not_aligned",
        "Alignment is not certain, so the metrics may be of shifted pictures.",
        "Look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "class_not_fitted",
        "The gate has no decision for this class, so people decide.",
        "Label candidates of the class, and run `ggt100k calibrate`.",
    ),
    Reason(
        "verdict",
        "shifted",
        "The candidate is shifted against the photograph.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "object_changed",
        "Something was added, removed, moved or altered.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "wrong_in_one_place",
        "One place differs from the photograph.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "colour_cast",
        "Grey areas became coloured.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "colours_changed",
        "Colours changed or were lost.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "hues_turned",
        "All hues changed.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "thing_recoloured",
        "One thing has another colour.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "over_smoothed",
        "Detail of the photograph is gone.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "artefacts",
        "Patterns, halos, blocks or textures appeared.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "blockier",
        "Compression blocks increased.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "noisier",
        "Noise increased.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "unchanged",
        "The candidate is a copy of the photograph.",
        "Use another prompt or restorer.",
    ),
    Reason(
        "verdict",
        "not_restored",
        "The candidate is next to unchanged, as a whole or in part.",
        "Use another prompt or restorer, or `ggt100k refine`.",
    ),
    Reason(
        "verdict",
        "haze_stays",
        "The haze did not decrease.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "dark_stays",
        "The picture did not become brighter.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "shadow_stays",
        "The shadow did not become brighter.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "blur_stays",
        "The blur did not decrease.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "motion_blur_stays",
        "The motion blur did not decrease.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "noise_stays",
        "The noise did not decrease.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "blocks_stay",
        "The compression blocks did not decrease.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "no_gain",
        "No measured degradation decreased.",
        "Run `ggt100k refine`, or look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "vlm_unfaithful",
        "The vision-language model rates its fidelity too low.",
        "Look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "vlm_defect",
        "The vision-language model found a defect.",
        "Look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "vlm_disagrees",
        "The opinions of the vision-language model contradict each other.",
        "Look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "vlm_unusable",
        "The vision-language model gave too few usable opinions.",
        "Look at it in `ggt100k review`.",
    ),
    Reason(
        "verdict",
        "not_the_best",
        "Another candidate of the same photograph was kept.",
        "Nothing: one candidate of each photograph is kept.",
    ),
    Reason(
        "verdict",
        "no_image",
        "There is no image to judge.",
        "See the reason of the restore stage.",
    ),
    Reason(
        "verdict",
        "unmeasured_METRIC",
        "A rule needs a metric that was not measured: `ggt100k score`.",
        "Run `ggt100k score` with the set that holds the metric.",
    ),
    Reason(
        "restore",
        "worker_died",
        "The worker process died over this photograph, each time it was tried.",
        "See the log; the photograph or the memory may be the cause.",
    ),
    Reason(
        "adopt",
        "one_file",
        "One file is given for both sides of a pair.",
        "Name different files.",
    ),
    Reason(
        "pack",
        "bad_key",
        "The key is not 16 hexadecimal digits.",
        "Import the photograph again.",
    ),
    Reason(
        "pack",
        "bad_facts",
        "The facts of the pair break a rule of the format.",
        "Follow the message; usually import or pack again.",
    ),
    Reason(
        "pack",
        "swapped",
        "LQ and GT are swapped.",
        "Pack again.",
    ),
    Reason(
        "pack",
        "wrong_key",
        "The key is not the digest of the LQ pixels.",
        "Import the photograph again.",
    ),
    Reason(
        "pack",
        "wrong_bands",
        "The image is not in bands of the expected height.",
        "Pack again.",
    ),
    Reason(
        "pack",
        "size_differs",
        "LQ and GT have different sizes.",
        "Run `ggt100k align`.",
    ),
    Reason(
        "pack",
        "wrong_size",
        "The facts state another size than the images have.",
        "Pack again.",
    ),
    Reason(
        "pack",
        "identical",
        "LQ and GT are the same image.",
        "Run `ggt100k verdict` again.",
    ),
    Reason(
        "pack",
        "duplicate_key",
        "The key occurs twice in a shard.",
        "Import each photograph once.",
    ),
    Reason(
        "pack",
        "wrong_shard",
        "The pair is in a shard of another class or split.",
        "Pack again.",
    ),
    Reason(
        "pack",
        "another_pair",
        "The comment of a JPEG names another pair.",
        "Pack again.",
    ),
    Reason(
        "pack",
        "unmarked",
        "A JPEG has no comment that names its pair.",
        "Pack again.",
    ),
    Reason(
        "pack",
        "prior_in_test",
        "A visual prior belongs to a photograph of the test split.",
        "Pack again.",
    ),
    Reason(
        "pack",
        "duplicate_in_test",
        "The same photograph is in the test split.",
        "Nothing: it is left out of train.",
    ),
    Reason(
        "pack",
        "near_duplicate_in_test",
        "A photograph that looks the same is in the test split.",
        "Nothing: it is left out of train.",
    ),
    Reason(
        "pack",
        "duplicate_in_train",
        "The same photograph is in the train split.",
        "Nothing: it is left out of test.",
    ),
    Reason(
        "pack",
        "near_duplicate_in_train",
        "A photograph that looks the same is in the train split.",
        "Nothing: it is left out of test.",
    ),
    Reason(
        "score",
        "not_measured",
        "A metric could not be measured on this pair.",
        "See the message; other metrics are not affected.",
    ),
    Reason(
        "prompt",
        "unknown_degradation",
        "There is no prompt for the class of the photograph.",
        "Correct the class in credits.csv, and import the photograph into a new workspace.",
    ),
)


def explain(code: str) -> list[Reason]:
    """Return what a reason code means, once for each stage that gives it.

    Raises:
        ConfigError: The code is unknown; the message suggests the nearest one.
    """
    known_code = "unmeasured_METRIC" if code.startswith("unmeasured_") else code
    reasons = [reason for reason in REASONS if reason.code == known_code]
    if not reasons:
        near = get_close_matches(code, {reason.code for reason in REASONS}, n=1)
        hint = f"Did you mean {near[0]}?" if near else "List all codes: ggt100k reasons"
        raise ConfigError(f"{code}: is not a reason code. {hint}")
    return reasons
