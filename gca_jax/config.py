"""What the files in `configs/` share: the settings that they change, and the words that they take.

A config is asked for as `--config=configs/cifar10.py:gca_uot,vit,smoke`. The words after the colon,
in any order and each of them optional, are a method, an encoder and `smoke`, which shrinks a run
until every part of it is over in a minute. Any key may be set beside it, as in
`--config.loss.epsilon=0.1`. A config file may lie in any folder; it needs this module alone.

Expected times of the files are estimates for one A100-class GPU at 20 TFLOP/s, expected numbers
those that the paper has (arXiv 2502.20141, NeurIPS 2024); only those of digits are measured here.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict, config_dict

from gca_jax import losses
from gca_jax.data.views import policies
from gca_jax.models import ENCODERS

SMOKE = "smoke"
# What a loss takes and a config cannot hold.
NO_SETTINGS = ("target", "mu", "nu", "cost_fn", "axis_name", "epsilon_min", "keep_plan")

Settings = Mapping[str, Any]
"""Keys and values; a value that is a type (`int`) declares an optional setting, None until set."""

# Groups of settings, for the files in `configs/` to name.
TFDS: Settings = dict(
    data_dir=str,  # TFDS's folder; None: $TFDS_DATA_DIR or ~/tensorflow_datasets
    limit=int,  # at most so many images of each split; None: all
    skip_unreadable=False,  # count broken records instead of refusing them
)
PICTURES: Settings = dict(
    root=str,  # the folder of pictures
    size=224,  # pixels of a side that the network sees
    held_out=str,  # the domain that is kept for the test; None: none is
    domains=bool,  # whether the first level of folders is domains; None: seen from the depth
    labelled=bool,  # whether folders are classes; None: seen from the depth
    channels=int,  # of a picture, where they are not RGB; None: 3
    labelled_root=str,  # a labelled folder for the probes; root is then pretrained on
    **TFDS,  # data_dir is where the prepared copy goes
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
RESNET50: Settings = dict(stage_sizes=(3, 4, 6, 3), block="bottleneck")
UNCHANGED: Settings = {}
# What a config has where its file says nothing else; loss, heads and batch are the authors'.
TARGET: Settings = dict(
    name="identity",
    alpha=float,  # of blocks: weight inside a domain
    beta=float,  # and across domains
    sharpness=float,  # of self_weighted, as floor and keep: see `ot.learned`
    floor=float,
    keep=float,
    share=float,  # of smoothed and bootstrapped: the uniform plan's, the plan's own
    warmup_steps=int,  # with the identity
)
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
    q=0.98,
    lam=0.01,
    penalty_a=0.2,
    penalty_b=0.2,
    w_kl=1.0,
    w_rince=0.02,
)
BYOL: Settings = dict(  # of that method alone
    target_decay=0.996,  # of the target network
    projector_batch_norm=True,  # as BYOL's paper has it
)
PUBLISHED_BYOL: Settings = dict(projector_batch_norm=False)  # of the paper's runs
EVALUATION: Settings = dict(
    split="test",  # or "validation": a fixed fifth of the training images, which none trains with
    labels_per_class=10,  # that a few-label probe sees, at least 2
    draws=10,  # of them, over which such probes are averaged
    validation_fraction=0.1,  # of the training images, held out to choose settings
    strengths=(0.01, 0.1, 1.0, 10.0, 100.0),  # candidates: weight of the data against the penalty's
    neighbours=(1, 3, 5, 10, 20, 50),  # candidates of k
    corruptions=False,  # whether to judge the linear probe on corrupted images too
    sgd_epochs=0,  # of a linear head on augmented images, the paper's 200; 0: left out, it is long
    sgd_learning_rate=0.2,  # of this and of fine-tuning
    finetune_epochs=0,  # of network and head; 0: left out
)


def make(
    words: str,
    *,
    data: Settings,
    side: int,
    augment: Settings,
    method: str = "gca_uot",
    target: Settings = UNCHANGED,
    resnet: Settings = UNCHANGED,
    heads: Settings = UNCHANGED,
    optimizer: Settings = ADAMW,
    train: Settings = UNCHANGED,
    loss: Settings = UNCHANGED,
    evaluation: Settings = UNCHANGED,
    byol: Settings = UNCHANGED,
    smoke: Settings = UNCHANGED,
    own_words: Sequence[str] = (),
) -> ConfigDict:
    """Make the config of a data set; each group is what all share, with the changes given here.

    Args:
        words: after the colon of --config.
        data: the whole group, what the data set's reader takes.
        side: pixels of the images' side, which the encoder's settings suit.
        augment: arguments of `policies.settings`.
        method: where `words` name none; the encoder is then a ResNet.
        target: what the plan is aligned with, see `alignment.make`.
        resnet: settings of a ResNet, where they are not those of `resnet.settings(side)`.
        heads: widths of the projector.
        optimizer: the whole group.
        train: length of the run and size of its batches.
        loss: settings of any method; the chosen one takes what it has.
        evaluation: settings of the probes.
        byol: settings that no other method has.
        smoke: changes of the data in a smoke run.
        own_words: words that the config file itself makes something of.

    Raises:
        ValueError: a word that is not known, or two of a kind.
        TypeError: a change of a setting that there is not.
    """
    method, name, small = read(words, method, own_words=own_words)
    encoder = ENCODERS[name]
    settings = encoder.settings(side)
    if name == "resnet":
        settings = changed("resnet", settings, resnet)
    config = ConfigDict(dict(method=method, seed=0))
    config.target = group(changed("target", TARGET, target))
    config.evaluation = changed("evaluation", EVALUATION, evaluation)
    config.data = group(data)
    config.augment = group(policies.settings(**augment))
    config.model = group({"encoder": name, **settings, **changed("heads", HEADS, heads)})
    config.optimizer = group(optimizer)
    config.train = group(changed("train", TRAIN, train))
    config.loss = loss_group(method, {**LOSS, **loss})
    config.log = group(LOG)
    if method == "byol":
        config.model.predictor_hidden = config.model.projector_hidden
        of_byol = changed("byol", BYOL, byol)
        config.model.projector_batch_norm = of_byol["projector_batch_norm"]
        config.train.target_decay = of_byol["target_decay"]
    if small:
        config.model.update(encoder.smoke(settings))
        config.data.update({"limit": 400, **smoke})
        _shrink(config)
    return config


def _shrink(config: ConfigDict) -> None:
    """Let every part of a run be over in a minute."""
    config.model.update(projector_hidden=32, projector_dim=16)
    config.optimizer.warmup_epochs = 0.0
    config.train.update(batch_size=96, epochs=1, checkpoint_every_epochs=1, log_every_steps=1)
    config.evaluation.update(
        labels_per_class=5, draws=2, validation_fraction=0.5, strengths=(1.0,), neighbours=(1,)
    )


def read(
    words: str, method: str, networks: Iterable[str] = ENCODERS, own_words: Sequence[str] = ()
) -> tuple[str, str, bool]:
    """Read the method, the encoder (the first, if none), and whether a smoke run is asked for."""
    known, others = tuple(networks), (SMOKE, *own_words)
    named = [word for word in words.split(",") if word and word not in others]
    methods = [word for word in named if word in losses.METHODS]
    encoders = [word for word in named if word in known]
    for word in named:
        if word not in methods + encoders:
            raise ValueError(
                f"unknown method {word!r}; one of: {', '.join(losses.METHODS)}; an encoder "
                f"({', '.join(known)}) and {' or '.join(map(repr, others))} may be added: "
                f"FILE:METHOD,ENCODER,{SMOKE}"
            )
    for kind, found in (("method", methods), ("encoder", encoders)):
        if len(found) > 1:
            raise ValueError(f"one {kind} at a time, got {', '.join(found)}")
    return [*methods, method][0], [*encoders, known[0]][0], SMOKE in words.split(",")


def changed(group: str, shared: Settings, changes: Settings) -> dict[str, object]:
    """Change settings that are there."""
    if unknown := changes.keys() - shared.keys():
        raise TypeError(f"{group} has no {', '.join(sorted(unknown))}; it has: {', '.join(shared)}")
    return {**shared, **changes}


def group(settings: Settings) -> dict[str, object]:
    """Make a group of a config, its optional settings declared."""
    return {
        key: config_dict.placeholder(value) if isinstance(value, type) else value
        for key, value in settings.items()
    }


def loss_group(method: str, settings: Settings) -> dict[str, object]:
    """Make the `loss` group: all that the method's loss takes, its defaults changed."""
    unknown = settings.keys() - {key for each in losses.METHODS for key in _defaults(each)}
    if unknown:
        raise TypeError(f"no method takes {', '.join(sorted(unknown))}")
    defaults = _defaults(method)
    values = defaults | {key: value for key, value in settings.items() if key in defaults}
    return group({key: object if value is None else value for key, value in values.items()})


def _defaults(method: str) -> dict[str, object]:
    known = losses.keywords(method)
    return {key: value for key, value in known.items() if key not in NO_SETTINGS}
