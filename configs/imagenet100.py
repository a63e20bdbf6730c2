"""The paper's ImageNet-100 run: ResNet-50 at 224 pixels, 200 epochs, batch 128.

Method: GCA, "Your contrastive learning problem is secretly a distribution alignment problem",
NeurIPS 2024, arXiv 2502.20141, section 6 and Table 2; settings from the authors' published code.

    python main.py --mode=prepare --config=configs/imagenet100.py
    python main.py --config=configs/imagenet100.py:gca_uot --workdir=runs/imagenet100

The first command is needed once. Any method name may stand after the colon (`gca_uot` where none
does), and any key below may be changed, as in `--config.loss.epsilon=0.1`. All methods use the
"joint" layout, as the published runs did; in it `ince` is `simclr` and `gca_ince` is `iot`. The
classes are those of Tian et al., "Contrastive multiview coding" (2020). Images stream from disk,
two random crops of each made on the host.

Expected time: about 17 hours on one A100-class GPU; an estimate, 49 GFLOP an image at 20 TFLOP/s,
if the host decodes 400 images a second, not measured.
Expected numbers, published (Table 2: accuracy of linear evaluation in %, mean and deviation over 5
seeds), none measured here:

    method      ImageNet-100
    ince        73.01 ± 0.61
    gca_ince    73.04 ± 0.76
    rince       71.91 ± 0.43
    gca_rince   73.44 ± 0.55
    simclr      72.20 ± 0.78
    byol        69.75 ± 0.83
    iot         72.27 ± 0.53
    iot_uni     72.88 ± 0.71
    gca_uot     74.09 ± 0.40

Smoke run: every part once, on a few images, in about a minute on two cores:

    python main.py --config=configs/imagenet100.py:gca_uot,smoke --workdir=runs/smoke
"""

from ml_collections import ConfigDict

from gca_jax import config as common
from gca_jax.data.views import policies


def get_config(words: str = "") -> ConfigDict:
    method, smoke = common.read(words)
    config = common.start(method)
    config.data = common.group(
        name="imagenet100",
        size=224,  # pixels of a side that the network sees
        data_dir=str,  # TFDS's folder; None: $TFDS_DATA_DIR or ~/tensorflow_datasets
        limit=int,  # at most so many images of each split; None: all
        skip_unreadable=False,  # count broken records instead of refusing them
    )
    config.augment = common.group(
        **policies.settings("strong", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    )
    config.model = dict(
        stage_sizes=(3, 4, 6, 3),
        block="bottleneck",
        width=64,
        stem="imagenet",
        projector_hidden=2048,
        projector_dim=128,
    )
    config.optimizer = dict(
        name="adam",
        learning_rate=3e-4,
        final_learning_rate=3e-4,  # constant
        warmup_epochs=0.0,
        weight_decay=0.0,
    )
    config.train = dict(batch_size=128, epochs=200, checkpoint_every_epochs=10, log_every_steps=20)
    config.loss = common.loss(
        method,
        layout="joint",
        epsilon=0.5,
        iterations=10,
        q=0.6,
        lam=0.01,
        penalty_a=0.5,
        penalty_b=0.5,
        w_kl=1.0,
        w_rince=0.02,
    )
    return common.finish(config, smoke, limit=2000, size=64)  # in a smoke run, 20 a class
