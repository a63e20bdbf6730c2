"""A workdir as a finished run leaves it, made by hand: three classes of four images a batch."""

import json

import numpy as np
import pytest

CONFIG = {
    "method": "gca_uot",
    "seed": 7,
    "data": {"name": "digits"},
    "model": {"encoder": "resnet"},
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


def probed(linear, few, knn):
    return {"linear": linear, "linear_4_per_class": few, "knn": knn}


def evaluation():
    encoders = ("trained", "pixels", "random_encoder")
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
            "image_shape": [8, 8, 1],
            "classes": 3,
        },
        "accuracy": probed(0.9, 0.8, 0.85),
        "baselines": {"pixels": probed(0.7, 0.6, 0.65), "random_encoder": probed(0.5, 0.4, 0.45)},
        "draws": {name: {"accuracy": [0.79, 0.81], "sd": 0.0141} for name in encoders},
        "settings": {name: settings for name in encoders},
        "alignment": 0.25,
        "uniformity": -2.5,
        "effective_rank": 8.5,
        "gradient_cosine_to_ince": 0.9321,
        "left_out": [],
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


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "training.json").write_text(json.dumps(TRAINING))
    rows = [json.dumps(metrics_row(step)) for step in range(1, 21)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation()))
    np.savez(tmp_path / "evaluation.npz", **arrays())
    return tmp_path
