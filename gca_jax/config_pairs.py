"""What a run on pairs of two sets is configured by, in the form of `gca_jax.config`."""

from ml_collections import ConfigDict

from gca_jax.config import (
    ADAMW,
    HEADS,
    LOG,
    LOSS,
    OPTIMIZER,
    PICTURES,
    TARGET,
    TRAIN,
    UNCHANGED,
    Settings,
    changed,
    group,
    loss_group,
    read,
)
from gca_jax.losses import METHODS, keywords
from gca_jax.models.towers import TOWERS

PAIRS: dict[str, Settings] = dict(  # of a run on pairs of two sets
    data=dict(
        name="pairs",
        a=str,  # a file, .npy, .npz or .parquet; None: halves of digits
        b=str,
        test_a=str,  # pairs of their own to test with
        test_b=str,
        labels=str,  # a file; for shuffled_within, and targets that need labels
        test_fraction=0.2,  # without test_a and test_b
        validation_fraction=0.1,  # of the other rows
        shuffled=0.0,  # share of the training and validation pairs that is made wrong
        shuffled_within=False,  # whether only inside a class
        scaling=str,  # columns, whole or none; None: columns, but whole for images
        seed=0,  # of the split and the shuffle
        limit=int,  # at most so many pairs; None: all
    ),
    model=dict(
        tower_a="mlp",
        tower_b="mlp",
        hidden_a=(512,),
        hidden_b=(512,),
        dim=128,
        learn_epsilon=False,  # whether epsilon is learned, from the loss's on
        epsilon_min=0.03,  # and how far down
        dtype=str,  # "bfloat16": the towers are trained in it; None: "float32"
    ),
    train=dict(
        batch_size=256,
        epochs=100,
        steps=int,  # in place of epochs
        checkpoint_every_epochs=100,
        log_every_steps=10,
        encoder_chunk=int,  # pairs that the towers see at a time; None: the whole batch
    ),
    loss=dict(layout="cross", epsilon=0.1),
    evaluation=dict(
        split="test",  # or validation: which pairs are judged
        rounds=4,  # random batches that each training pair is weighed in
        suspects=100,  # pairs in the list of the most doubtful ones
    ),
)

DECLARED = (PICTURES, OPTIMIZER, TARGET, HEADS, TRAIN, LOG, *PAIRS.values())
OPTIONAL = {
    *(key for each in DECLARED for key, value in each.items() if isinstance(value, type)),
    *(key for name in METHODS for key, value in keywords(name).items() if value is None),
}
"""Settings of any run that may be None, also where a config file has given them a value."""


def make(
    words: str,
    *,
    data: Settings = UNCHANGED,
    target: Settings = UNCHANGED,
    model: Settings = UNCHANGED,
    optimizer: Settings = UNCHANGED,
    train: Settings = UNCHANGED,
    loss: Settings = UNCHANGED,
) -> ConfigDict:
    """Make the config of a run on pairs of two sets; each group is `PAIRS`'s, with changes.

    Args:
        words: after the colon of --config: a method, a kind of towers, `smoke`.
        data: the two sets and their split, keywords of `data.pairs.load`.
        target: what the plan is aligned with, see `alignment.make`.
        model: keywords of `towers.create`, and `learn_epsilon`.
        optimizer: the whole group.
        train: length of the run and size of its batches.
        loss: settings of any method; the chosen one takes what it has.

    Raises:
        ValueError: a word that is not known, or two of a kind.
        TypeError: a change of a setting that there is not.
    """
    method, tower, small = read(words, "gca_ince", TOWERS)
    config = ConfigDict(dict(method=method, seed=0))
    config.target = group(changed("target", TARGET, target))
    config.evaluation = dict(PAIRS["evaluation"])
    config.data = group(changed("data", PAIRS["data"], data))
    towers = {**PAIRS["model"], "tower_a": tower, "tower_b": tower}
    config.model = group(changed("model", towers, model))
    config.optimizer = group({**ADAMW, "warmup_epochs": 0.0, **optimizer})
    config.train = group(changed("train", PAIRS["train"], train))
    config.loss = loss_group(method, {**LOSS, **PAIRS["loss"], **loss})
    config.log = group(LOG)
    if small:
        config.model.update(hidden_a=(16,), hidden_b=(16,), dim=8)
        config.data.limit = 400
        config.train.update(batch_size=96, steps=6, log_every_steps=1)
    return config
