"""STL-10: ResNet-18 pretrained on the 100,000 unlabelled images of 96 pixels.

Method: GCA, "Your contrastive learning problem is secretly a distribution alignment problem",
NeurIPS 2024, arXiv 2502.20141. The paper has no
experiment on STL-10; the recipe is our own.

    python main.py --mode=prepare --config=configs/stl10.py
    python main.py --config=configs/stl10.py:gca_uot --workdir=runs/stl10

The first command is needed once. Any method name may stand after the colon (`gca_uot` where none
does), and any key below may be changed, as in `--config.loss.epsilon=0.1`. All methods use the
"joint" layout, as the published runs did; in it `ince` is `simclr` and `gca_ince` is `iot`. The
probes are fitted on the 5,000 labelled training images.

Expected time: about 70 minutes on one A100-class GPU; an estimate, 4.0 GFLOP an image at 20
TFLOP/s, not measured.
Expected numbers: none published; the recipe is our own and tuned for no method.
Smoke run: every part once, on a few images, in about a minute on two cores:

    python main.py --config=configs/stl10.py:gca_uot,smoke --workdir=runs/smoke
"""

from ml_collections import ConfigDict

from gca_jax import config as common
from gca_jax.data.views import policies


def get_config(words: str = "") -> ConfigDict:
    method, smoke = common.read(words)
    config = common.start(method)
    config.data = common.group(
        name="stl10",
        data_dir=str,  # TFDS's folder; None: $TFDS_DATA_DIR or ~/tensorflow_datasets
        limit=int,  # at most so many images of each split; None: all
        skip_unreadable=False,  # count broken records instead of refusing them
    )
    config.augment = common.group(
        **policies.settings("cifar", mean=(0.4467, 0.4398, 0.4066), std=(0.2603, 0.2566, 0.2713))
    )
    config.model = dict(
        stage_sizes=(2, 2, 2, 2),
        block="basic",
        width=64,
        stem="imagenet",
        projector_hidden=2048,
        projector_dim=128,
    )
    config.optimizer = dict(
        name="adamw",
        learning_rate=1e-3,
        final_learning_rate=0.0,  # cosine
        warmup_epochs=10.0,
        weight_decay=1e-4,
    )
    config.train = dict(batch_size=512, epochs=200, checkpoint_every_epochs=10, log_every_steps=20)
    config.loss = common.loss(
        method,
        layout="joint",
        epsilon=0.5,
        iterations=10,
        q=0.98,
        lam=0.01,
        penalty_a=0.2,
        penalty_b=0.2,
        w_kl=1.0,
        w_rince=0.02,
    )
    return common.finish(config, smoke)
