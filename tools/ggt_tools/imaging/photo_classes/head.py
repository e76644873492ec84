"""The classifier's head: small networks from features to probabilities of classes, in numpy alone.

A head file is a NumPy archive without pickled objects. It has the class names, the mean and scale of each feature, and
the weights of some networks, whose probabilities are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
FORMAT = 1  # of the file
CLIP = 4.0  # standard deviations at which features are clipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """One network: features -> hidden (rectified) -> classes."""

    first: Matrix
    first_bias: Matrix
    second: Matrix
    second_bias: Matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Networks that compute probabilities from features.

    Attributes:
        names: The classes in the order of the outputs.
        mean: Mean of each feature.
        scale: Standard deviation of each feature.
        prior: How often each class is expected, in any unit. The networks were fitted as if all were equally frequent.
        networks: The networks, whose probabilities are averaged.
    """

    names: tuple[str, ...]
    mean: Matrix
    scale: Matrix
    prior: Matrix
    networks: tuple[Layers, ...]

    def probabilities(self, features: Matrix) -> Matrix:
        """Compute the probability of each class: (n, features) to (n, classes)."""
        x = _normal(features, self.mean, self.scale)
        parts = [_softmax(_logits(x, layers)) for layers in self.networks]
        weighted = np.mean(parts, axis=0) * self.prior
        return np.asarray(weighted / weighted.sum(axis=1, keepdims=True), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """How the head is fitted."""

    networks: int = 3
    hidden: int = 64
    epochs: int = 12
    batch: int = 128
    rate: float = 1e-3
    decay: float = 3e-2  # weight decay, per unit of rate and step
    drop: float = 0.5  # share of the features, and of the hidden units, left out of a step
    smoothing: float = 0.1  # label smoothing
    jitter: float = 0.15  # standard deviations of noise that is added to the features
    seed: int = 0


def fit_head(
    features: Matrix,
    labels: Sequence[str],
    prior: Mapping[str, float],
    config: FitConfig,
    report: Callable[[str], None],
) -> Head:
    """Fit the head by Adam with decoupled weight decay; every class counts the same, however many samples it has.

    Args:
        features: (n, features).
        labels: n keys of `prior`.
        prior: The classes, and how often each is expected among the photographs that will be classified.
        config: The networks' sizes and rates.
        report: Receives a line for each network.
    """
    names = tuple(prior)
    mean = features.mean(axis=0).astype(np.float32)
    scale = np.maximum(features.std(axis=0), 1e-3).astype(np.float32)
    x = _normal(features, mean, scale)
    y = np.array([names.index(label) for label in labels])
    weights = (len(y) / len(names) / np.maximum(np.bincount(y, minlength=len(names)), 1)).astype(np.float32)
    networks = []
    for index in range(config.networks):
        layers, loss = _fit(x, y, weights, len(names), config, np.random.default_rng([config.seed, index]))
        report(f"network {index + 1} of {config.networks}: loss {loss:.3f}")
        networks.append(layers)
    expected = np.array(list(prior.values()), np.float32)
    return Head(names=names, mean=mean, scale=scale, prior=expected, networks=tuple(networks))


def save_head(head: Head, path: Path) -> None:
    """Write a head file."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "format": np.array(FORMAT),
        "names": np.array(head.names),
        "mean": head.mean,
        "scale": head.scale,
        "prior": head.prior,
    }
    for index, layers in enumerate(head.networks):
        for name in ("first", "first_bias", "second", "second_bias"):
            arrays[f"{name}_{index}"] = getattr(layers, name).astype(np.float16)
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load_head(path: Path) -> Head:
    """Read a head file.

    Raises:
        ValueError: The file has another format.
    """
    with np.load(path, allow_pickle=False) as archive:
        if "format" not in archive.files or int(archive["format"]) != FORMAT:
            raise ValueError(f"{path}: this is not a head file of format {FORMAT}. Install ggt100k again.")
        count = sum(name.startswith("first_bias_") for name in archive.files)
        networks = tuple(
            Layers(
                first=archive[f"first_{index}"].astype(np.float32),
                first_bias=archive[f"first_bias_{index}"].astype(np.float32),
                second=archive[f"second_{index}"].astype(np.float32),
                second_bias=archive[f"second_bias_{index}"].astype(np.float32),
            )
            for index in range(count)
        )
        return Head(
            names=tuple(str(name) for name in archive["names"]),
            mean=archive["mean"],
            scale=archive["scale"],
            prior=archive["prior"],
            networks=networks,
        )


def _fit(
    x: Matrix, y: npt.NDArray[np.int64], weights: Matrix, classes: int, config: FitConfig, random: np.random.Generator
) -> tuple[Layers, float]:
    count = x.shape[1]
    w1 = (random.standard_normal((count, config.hidden)) * np.sqrt(2 / count)).astype(np.float32)
    w2 = (random.standard_normal((config.hidden, classes)) * np.sqrt(2 / config.hidden)).astype(np.float32)
    values = [w1, np.zeros(config.hidden, np.float32), w2, np.zeros(classes, np.float32)]
    first, second = [np.zeros_like(v) for v in values], [np.zeros_like(v) for v in values]
    target_off = config.smoothing / classes
    step, loss = 0, 0.0
    steps = config.epochs * max(1, len(y) // config.batch)
    for _ in range(config.epochs):
        losses = []
        order = random.permutation(len(y))
        for start in range(0, len(y) - config.batch + 1, config.batch) or (0,):
            rows = order[start : start + config.batch]
            step += 1
            rate = config.rate * 0.5 * (1 + np.cos(np.pi * step / steps))
            keep_x = (random.random((len(rows), count), np.float32) >= config.drop) / np.float32(1 - config.drop)
            keep_h = (random.random((len(rows), config.hidden), np.float32) >= config.drop) / np.float32(
                1 - config.drop
            )
            noise = config.jitter * random.standard_normal((len(rows), count), np.float32)
            inputs = (x[rows] + noise) * keep_x
            before = inputs @ values[0] + values[1]
            hidden = np.maximum(before, 0) * keep_h
            chance = _softmax(hidden @ values[2] + values[3])
            target = np.full_like(chance, target_off)
            target[np.arange(len(rows)), y[rows]] += 1 - config.smoothing
            share = weights[y[rows]][:, None] / len(rows)
            losses.append(-float((share * target * np.log(chance + 1e-9)).sum()))
            slope = (chance - target) * share
            back = (slope @ values[2].T) * keep_h * (before > 0)
            slopes = [inputs.T @ back, back.sum(0), hidden.T @ slope, slope.sum(0)]
            for index, (value, gradient) in enumerate(zip(values, slopes, strict=True)):
                first[index] = 0.9 * first[index] + 0.1 * gradient
                second[index] = 0.999 * second[index] + 0.001 * gradient**2
                change = (first[index] / (1 - 0.9**step)) / (np.sqrt(second[index] / (1 - 0.999**step)) + 1e-8)
                if value.ndim == 2:
                    change = change + config.decay * value
                value -= (rate * change).astype(np.float32)
        loss = float(np.mean(losses))
    return Layers(first=values[0], first_bias=values[1], second=values[2], second_bias=values[3]), loss


def _normal(features: Matrix, mean: Matrix, scale: Matrix) -> Matrix:
    return np.asarray(np.clip((features - mean) / scale, -CLIP, CLIP), np.float32)


def _logits(x: Matrix, layers: Layers) -> Matrix:
    hidden = np.maximum(x @ layers.first + layers.first_bias, 0)
    return np.asarray(hidden @ layers.second + layers.second_bias, np.float32)


def _softmax(logits: Matrix) -> Matrix:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
