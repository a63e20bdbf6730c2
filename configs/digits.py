"""The demo: scikit-learn's 1,797 scanned digits, 8 x 8 pixels, on any machine.

Method: GCA, "Your contrastive learning problem is secretly a distribution alignment problem",
NeurIPS 2024, arXiv 2502.20141. The paper has no
experiment on digits; the recipe is our own.

    python main.py --config=configs/digits.py:gca_uot --workdir=runs/digits

Any method name may stand after the colon (`gca_uot` where none does), and any key below may be
changed, as in `--config.loss.epsilon=0.1`. All methods use the "joint" layout, as the published
runs did; in it `ince` is `simclr` and `gca_ince` is `iot`.

Expected time: under two minutes on two CPU cores, evaluation and report included; a GPU is not
needed (the estimate for an A100-class one is 20 seconds, most of it compilation).
Expected numbers: none published. Raw pixels reach about 89 % with ten labels a class; a trained
encoder must beat them. The README has the measured table.
Smoke run: every part once, on a few images, in half a minute:

    python main.py --config=configs/digits.py:gca_uot,smoke --workdir=runs/smoke
"""

from ml_collections import ConfigDict

from gca_jax import config as common
from gca_jax.data.views import policies


def get_config(words: str = "") -> ConfigDict:
    method, smoke = common.read(words)
    config = common.start(method)
    config.data = common.group(
        name="digits",
        data_dir=str,  # TFDS's folder; None: $TFDS_DATA_DIR or ~/tensorflow_datasets
        limit=int,  # at most so many images of each split; None: all
        skip_unreadable=False,  # count broken records instead of refusing them
    )
    config.augment = common.group(**policies.settings("digits", mean=(0.3054,), std=(0.3760,)))
    config.model = dict(
        stage_sizes=(1, 1),
        block="basic",
        width=32,
        stem="cifar",
        projector_hidden=128,
        projector_dim=64,
    )
    config.optimizer = dict(
        name="adamw",
        learning_rate=2e-3,
        final_learning_rate=0.0,  # cosine
        warmup_epochs=0.0,
        weight_decay=1e-4,
    )
    config.train = dict(batch_size=256, epochs=60, checkpoint_every_epochs=20, log_every_steps=1)
    config.loss = common.loss(method, layout="joint", epsilon=0.2)
    config.evaluation.validation_fraction = 0.2
    return common.finish(config, smoke, target_decay=0.97)
