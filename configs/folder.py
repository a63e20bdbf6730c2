r"""Your own pictures: a folder root/split/class/*.png|jpg, root/domain/class/*, or unlabelled.

Method: GCA, "Your contrastive learning problem is secretly a distribution alignment problem",
NeurIPS 2024, arXiv 2502.20141. The recipe is our own,
for photographs.

    python main.py --mode=prepare --config=configs/folder.py --config.data.root=DIR
    python main.py --config=configs/folder.py:gca_uot --config.data.root=DIR --workdir=runs/folder

The first command is needed once. Any method name may stand after the colon (`gca_uot` where none
does), and any key below may be changed, as in `--config.loss.epsilon=0.1`. All methods use the
"joint" layout, as the published runs did; in it `ince` is `simclr` and `gca_ince` is `iot`. Domains
are seen from the tree's depth, or said with `--config.data.domains=True`; to align by them,
`--config.target.name=blocks --config.target.alpha=0.01`. Pictures without labels may lie in DIR
itself, or at any depth with `--config.data.labelled=False`; a second folder, of labelled pictures
for the probes, is `--config.data.labelled_root=DIR`.

Expected time: about 40 minutes for 10,000 pictures on one A100-class GPU; an estimate, 22 GFLOP an
image at 20 TFLOP/s, if the host decodes 1,000 pictures a second, not measured.
Expected numbers: none published.
Smoke run: every part once, on a few images, in about a minute on two cores:

    python main.py --config=configs/folder.py:gca_uot,smoke --config.data.root=DIR \
        --workdir=runs/smoke
"""

from ml_collections import ConfigDict

from gca_jax import config as common
from gca_jax.data.views import policies


def get_config(words: str = "") -> ConfigDict:
    method, smoke = common.read(words)
    config = common.start(method)
    config.data = common.group(
        name="folder",
        root=str,  # the folder of pictures
        labelled_root=str,  # a labelled folder for the probes; root is then pretrained on
        size=224,  # pixels of a side that the network sees
        held_out=str,  # the domain that is kept for the test; None: none is
        domains=bool,  # whether the first level of folders is domains; None: seen from the depth
        labelled=bool,  # whether folders are classes; None: seen from the depth
        data_dir=str,  # where the prepared copy goes; None: TFDS's folder
        limit=int,  # at most so many images of each split; None: all
        skip_unreadable=False,  # count broken pictures instead of refusing them
    )
    config.augment = common.group(
        **policies.settings("strong", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
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
    config.train = dict(batch_size=128, epochs=200, checkpoint_every_epochs=10, log_every_steps=20)
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
    return common.finish(config, smoke, size=64)
