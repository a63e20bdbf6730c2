"""Default settings of all configs: the groups that the files in `configs/` change.

Expected times in those files are estimates for one A100-class GPU at 20 TFLOP/s, expected numbers
those that the paper has (arXiv 2502.20141, NeurIPS 2024); only those of digits are measured here.
"""

from collections.abc import Mapping
from typing import Any

SMOKE = "smoke"
AUTO = "auto"  # in place of a method of pairs: the best of `CANDIDATES`
# Keywords of a loss that a config cannot hold.
NO_SETTINGS = (
    *("target", "mu", "nu", "cost_fn", "axis_name", "epsilon_min", "diagnose", "keep_plan"),
    *("valid", "ignore"),
)

Settings = Mapping[str, Any]
"""Keys and values; a value that is a type (`int`) declares an optional setting, None until set."""

# Groups of settings, for the files in `configs/` to name.
TFDS: Settings = dict(
    data_dir=str,  # TFDS's folder; None: $TFDS_DATA_DIR or ~/tensorflow_datasets
    limit=int,  # at most so many images of each split; None: all
    skip_unreadable=False,  # count broken records instead of refusing them
)
PICTURES: Settings = dict(
    root=str,  # the folder of pictures; or several with commas between them, or a pattern
    size=224,  # pixels of a side that the network sees
    held_out=str,  # the domain that is kept for the test; None: none is
    domains=bool,  # whether the first level of folders is domains; None: seen from the depth
    labelled=bool,  # whether folders are classes; None: seen from the depth
    channels=int,  # of a picture, where they are not RGB; None: 3
    labelled_root=str,  # a labelled folder for the probes; root is then pretrained on
    labels=str,  # a .csv of their paths and labels, in place of folders of classes
    **TFDS,  # data_dir is where the index of the folder goes
)
OPTIMIZER: Settings = dict(  # of every optimizer
    warmup_steps=int,  # in place of warmup_epochs
    exclude_bias_and_norm=bool,  # from weight decay and from LARS's trust ratio; None: they are in
    clip_norm=float,  # of a gradient; None: it is not clipped
)
SGD: Settings = dict(  # the authors' for CIFAR
    name="sgd",  # with Nesterov momentum 0.9
    learning_rate=0.12,
    final_learning_rate=2e-4,  # cosine
    warmup_epochs=0.0,
    weight_decay=1e-6,
    **OPTIMIZER,
)
ADAM: Settings = dict(  # the authors' for SVHN and ImageNet-100
    name="adam",
    learning_rate=3e-4,
    final_learning_rate=3e-4,  # constant
    warmup_epochs=0.0,
    weight_decay=0.0,
    **OPTIMIZER,
)
ADAMW: Settings = dict(  # our own, for sets that the paper does not have
    name="adamw",
    learning_rate=1e-3,
    final_learning_rate=0.0,  # cosine
    warmup_epochs=10.0,
    weight_decay=1e-4,
    **OPTIMIZER,
)
FILE: Settings = dict(
    file=str,  # an .npz file, or CIFAR's archive for Python, in place of the set; None: the set
)
ARRAYS: Settings = dict(
    **FILE,
    limit=int,  # at most so many images of each part; None: all
)
HUB: Settings = dict(  # what each means: `gca_jax.data.sources.hub.load`
    path=str,
    subset=str,
    image="image",
    label=str,
    domain=str,
    train="train",
    test=str,
    size=int,
    channels=int,
    limit=int,
    skip_unreadable=False,
)
RESNET50: Settings = dict(stage_sizes=(3, 4, 6, 3), block="bottleneck")
UNCHANGED: Settings = {}
# What a config has where its file says nothing else; loss, heads and batch are the authors'. The
# settings of `target` are the keywords of `targets.TARGETS`.
HEADS: Settings = dict(
    projector_hidden=2048,
    projector_dim=128,
    projector_batch_norm=False,  # after the hidden layer
    dtype=str,  # "bfloat16": encoder and heads are trained in it; None: "float32"
    initial=str,  # a run or a file that the encoder starts from; None: weights of the seed
)
TRAIN: Settings = dict(
    batch_size=512,
    epochs=200,
    steps=int,  # in place of epochs
    checkpoint_every_epochs=10,
    keep_every_epochs=int,  # whose checkpoints are kept beside the last two; None: no others
    log_every_steps=20,
    wrong_positives=0.0,  # share of a batch whose second view is of another image
    encoder_chunk=int,  # images that the encoder sees at a time; None: the whole batch
    online_probe=bool,  # whether a linear head is trained beside the encoder, from labels
    knn_every_epochs=int,  # how often k-NN among training images is logged; None: never
    batch_norm_groups=int,  # of images, each with batch statistics of its own; None: one
)
LOG: Settings = dict(
    wandb=str,  # the project of Weights & Biases that gets the curves too; None: it gets none
)
LOSS: Settings = dict(  # of all methods; each takes what it has
    layout="joint",  # in it ince is simclr and gca_ince is iot
    epsilon=0.5,
    iterations=10,
    q=0.98,  # of RINCE's family
    lam=0.01,
    penalty_a=0.2,
    penalty_b=0.2,
    w_kl=1.0,
    w_rince=0.02,
)
GCE: Settings = dict(q=0.7)  # of generalised cross entropy, whose q is not RINCE's
BYOL: Settings = dict(  # of that method alone
    target_decay=0.996,  # of the target network
    projector_batch_norm=True,  # as BYOL's paper has it
)
PUBLISHED_BYOL: Settings = dict(projector_batch_norm=False)  # the projector of their other runs
EVALUATION: Settings = dict(
    split="test",  # or "validation": a fixed fifth of the training images, which none trains with
    labels_per_class=10,  # that a few-label probe sees, at least 2
    draws=10,  # of them, over which such probes are averaged
    validation_fraction=0.1,  # of the training images, held out to choose settings
    strengths=(0.01, 0.1, 1.0, 10.0, 100.0),  # candidates: weight of the data against the penalty's
    neighbours=(1, 3, 5, 10, 20, 50),  # candidates of k
    corruptions=False,  # whether to evaluate the linear probe on corrupted images too
    sgd_epochs=0,  # of a linear head on augmented images, the paper's 200; 0: left out, it is long
    sgd_learning_rate=0.2,  # of this and of fine-tuning
    finetune_epochs=0,  # of network and head; 0: left out
)

PAIRS: dict[str, Settings] = dict(  # what a run on pairs of two sets has otherwise
    data=dict(
        name="pairs",
        a=str,  # a file, .npy, .npz, .parquet or .csv; None: halves of digits
        b=str,
        test_a=str,  # pairs of their own to test with
        test_b=str,
        pairs=str,  # a file of known pairs, rows of a and of b; None: row i of both, all rows
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
        tower_a="residual",  # linear plus an mlp; or one of both
        tower_b="residual",
        hidden_a=(512,),
        hidden_b=(512,),
        dim=128,
        start="auto",  # of linear and residual towers: by held-out pairs; or random (drawn from the
        # seed, as an mlp always is), identity, procrustes, cca, evidence
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
        stop_by="auto",  # steps, validation, or auto: validation where 20 pairs or more are for it
        partners="auto",  # given: train with the given pairs; plan: with what start=auto or
        # evidence matches, too; auto: plan where rows of both sides are in no pair
        patience=int,  # looks at validation pairs without a better one that end a run; None: 5
    ),
    loss=dict(layout="cross", epsilon=0.1),
    evaluation=dict(
        split="test",  # or validation: which pairs are evaluated
        rounds=4,  # random batches that each training pair is weighed in
        suspects=100,  # pairs in the list of the most doubtful ones
    ),
)

CANDIDATES = (  # of a run on pairs under `AUTO`: method, kind of towers, target
    ("gce", "residual", "identity"),  # the default; of equal ones the first is taken
    ("gce", "linear", "identity"),
    ("clip", "residual", "identity"),
    ("clip", "linear", "identity"),
    ("gca_ince", "residual", "identity"),
    ("gca_ince", "linear", "identity"),
    ("gca_gce", "residual", "identity"),
    ("gca_gce", "linear", "identity"),
    ("gca_ince", "residual", "self_weighted"),
    ("gca_ince", "linear", "self_weighted"),
    ("rcl", "residual", "identity"),
    ("rince", "residual", "identity"),
)

_TABLES = (PICTURES, ARRAYS, HUB, OPTIMIZER, HEADS, TRAIN, LOG, *PAIRS.values())
OPTIONAL: dict[str, type] = {
    key: value for table in _TABLES for key, value in table.items() if isinstance(value, type)
}
"""Types of all settings that may be None, but the losses'."""
