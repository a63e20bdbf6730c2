"""A workdir as a finished run leaves it, made by hand: three classes of four images a batch."""

import json

import numpy as np
import pytest

from gca_jax.workdir import RunFolder

CONFIG = {
    "method": "gca_uot",
    "seed": 7,
    "data": {"kind": "images", "name": "digits"},
    "model": {"encoder": "resnet"},
    "train": {"epochs": 4, "steps": None},
    "loss": {"epsilon": 0.2, "layout": "joint"},
    "evaluation": {"labels_per_class": 4, "draws": 2, "validation_fraction": 0.25},
}
TRAINING = {
    "finished": True,
    "steps": 20,
    "train_seconds": 12.5,
    "images_per_second": 2048.0,
    "device": "cpu",
    "parameters": 12345,
}


def probe(name, title, accuracy, sd=None, over=""):
    """A probe's result, as evaluation.json has it; accuracies are in the order of ENCODERS."""
    encoders = ("trained", "random_encoder", "pixels")
    return {
        **{"name": name, "title": title, "over": over, "picture": "", "caption": ""},
        "procedure": f"how {name} was obtained. " + "A word and a word. " * 12,
        "accuracy": dict(zip(encoders, accuracy, strict=True)),
        "sd": dict.fromkeys(encoders, sd),
    }


def shown(name, title, picture, caption):
    """A result with a picture or a caption, likewise."""
    words = {"name": name, "title": title, "over": "", "picture": picture, "caption": caption}
    return {**words, "procedure": "", "accuracy": {}, "sd": {}}


PROBES = [
    probe("linear_4_per_class", "few", (0.8, 0.4, 0.6), sd=0.0141, over="2 draws of 12 labels"),
    probe("linear", "linear, all labels", (0.9, 0.5, 0.7)),
    probe("knn", "k-NN", (0.85, 0.45, 0.65)),
]
SHOWN = [
    shown("plan", "the plan", "plan", "Of the plan."),
    shown("gradient_cosine", "the cosine", "", "Gradients have cosine 0.9321."),
    shown("views", "alignment", "alignment_uniformity", "Alignment and uniformity."),
    shown("confusion", "confusion matrix", "confusion", "Of the probe."),
    shown("nearest", "neighbours", "nearest", "Of the neighbours."),
    shown("nearest_across", "others", "nearest_across", "Of other domains."),
    shown("plane", "the plane", "plane", "Of the plane."),
]


def evaluation():
    encoders = ("trained", "pixels", "random_encoder")
    accuracy = {
        encoder: {result["name"]: result["accuracy"][encoder] for result in PROBES}
        for encoder in encoders
    }
    settings = {
        "linear_strength": 10.0,
        "linear_4_per_class_strengths": [1.0, 0.1],
        "knn_neighbours": 5,
    }
    return {
        "method": "gca_uot",
        "seed": 7,
        "step": 20,
        "dataset": {
            "name": "digits",
            "train_images": 90,
            "test_images": 36,
            "pretrain_images": 90,
            "image_shape": [8, 8, 1],
            "classes": 3,
        },
        "accuracy": accuracy.pop("trained"),
        "baselines": accuracy,
        "draws": {name: {"accuracy": [0.79, 0.81], "sd": 0.0141} for name in encoders},
        "settings": {name: settings for name in encoders},
        "alignment": 0.25,
        "uniformity": -2.5,
        "effective_rank": 8.5,
        "gradient_cosine_to_ince": 0.9321,
        "plan_within_class": {"share": 0.5, "share_of_uniform_plan": 0.25},
        "nearest_neighbours": {
            "queries": [0, 20],
            "neighbours": [[3, 1, 2], [23, 26, 1]],
            "similarities": [[0.99, 0.9, 0.8], [0.7, 0.6, -0.1]],
        },
        "nearest_across_neighbours": {
            "queries": [0, 20],
            "neighbours": [[3, 1, 2], [23, 26, 1]],
            "similarities": [[0.89, 0.7, 0.6], [0.5, 0.4, -0.2]],
        },
        "left_out": [],
        "results": PROBES + SHOWN,
        "versions": {"python": "3.12.0", "jax": "0.10.2"},
    }


def arrays(layout="joint"):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 4)
    target = np.eye(12)
    if layout == "joint":
        target = np.kron(1 - np.eye(2), target)
    plan = rng.uniform(0.5, 1, target.shape) * (1 - np.eye(len(target)) * (layout == "joint"))
    return {
        "plan": plan / plan.sum(),
        "target": target / target.sum(),
        "plan_labels": labels,
        "plane": rng.normal(size=(36, 2)),
        "plane_labels": np.arange(36) % 3,
        "nearest_images": rng.integers(0, 256, (2, 4, 8, 8, 1), dtype=np.uint8),
        "nearest_labels": np.array([[0, 0, 1, 2], [2, 2, 2, 1]]),
        "nearest_across_images": rng.integers(0, 256, (2, 4, 8, 8, 1), dtype=np.uint8),
        "nearest_across_labels": np.array([[0, 0, 1, 2], [2, 2, 2, 1]]),
        "nearest_across_domains": np.array([[0, 1, 1, 1], [1, 0, 0, 0]]),
        "confusion": np.array([[9, 1, 2], [0, 12, 0], [3, 0, 9]]),
    }


def metrics_row(step):
    return {
        "step": step,
        "epoch": step / 5,
        "loss": 5.0 - step / 10,
        "learning_rate": 1e-3,
        "alignment": 1 / step,
        "uniformity": -step / 10,
    }


def corruptions():
    """What a run on grey images has of eleven corruptions, with its baselines."""
    names = [f"corruption_{k}" for k in range(10)] + ["occlusion"]

    def found(clean):
        accuracy = {name: [clean - 0.05 * severity for severity in range(1, 6)] for name in names}
        mean = {"all": clean - 0.15, "without occlusion": clean - 0.15}
        return {"clean": clean, "accuracy": accuracy, "mean": mean}

    baselines = {"random_encoder": found(0.5), "pixels": found(0.7)}
    return {"step": 20, **found(0.9), "baselines": baselines}


def leave(folder, rows=20, finished=True, judged=True, **changes):
    """Write what a run leaves in its folder, before its report."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    lines = [json.dumps(metrics_row(step)) for step in range(1, rows + 1)]
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    if finished:
        (folder / "training.json").write_text(json.dumps(TRAINING))
    if judged:
        (folder / "evaluation.json").write_text(json.dumps(evaluation()))
        np.savez(folder / "evaluation.npz", **arrays())


@pytest.fixture
def workdir(tmp_path):
    leave(tmp_path)
    return tmp_path


@pytest.fixture
def folder(workdir):
    """The same, opened."""
    return RunFolder(workdir)
