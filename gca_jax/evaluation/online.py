"""The linear head that was trained beside the encoder (`train.online_probe`), on test images."""

import jax.numpy as jnp
import numpy as np

from gca_jax.evaluation.frozen import Subject
from gca_jax.evaluation.result import NO_LABELS, Result, Score
from gca_jax.training import probe

PROCEDURE = """a linear layer trained beside the encoder, on features of both views of each training
batch and their labels, without a gradient to the encoder. Nothing was chosen. It has followed an
encoder that changed; the linear probe is fitted to the final one."""


def evaluate(subject: Subject) -> Result | None:
    """Score the online probe; None where none was trained."""
    head = subject.variables.get("probe")
    if head is None:
        return None
    name, title = "linear_online", "linear, online"
    if subject.classes is None:
        return Result(name, title, left_out=NO_LABELS)
    scored = probe.scores(head, jnp.asarray(subject.test_features["trained"]))
    right = np.asarray(scored.argmax(axis=1)) == subject.classes[1]
    scores = {"trained": Score(float(right.mean()), {})}
    return Result(name, title, scores=scores, procedure=PROCEDURE)
