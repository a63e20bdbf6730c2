"""Desktop icons: the same things in six contexts (classes) as six themes (domains) draw them.

Method: arXiv 2502.20141 (section 6.2, which has PACS); recipe: our own, `gca_jax/config`.

    python -m scripts.icons --themes=/usr/share/icons --out=data/icons  # its docstring: packages
    python main.py --config=configs/icons.py:gca_ince --workdir=runs/icons
    python main.py --config=configs/icons.py:gca_ince,smoke --workdir=runs/smoke  # a minute

`--config.target.name=blocks --config.target.alpha=0.01` puts the domains into the target plan;
`--config.data.held_out=oxygen` keeps one for the test. No flips: arrows have a direction.

Expected time: about four minutes on two CPU cores, evaluation and report included; an estimate from
a run of 66 steps (190 CPU seconds in all, 1.5 a step).
Expected numbers: none published.
"""

from gca_jax import config


def get_config(options: str = "") -> config.ConfigDict:
    made = config.make(
        "images",
        options,
        data={"name": "icons", **config.PICTURES, "root": "data/icons", "size": 32},
        side=32,
        augment=dict(policy="cifar", mean=(0.80, 0.81, 0.80), std=(0.29, 0.27, 0.28)),
        method="gca_ince",  # the paper's, where there are domains
        # A small network, for a run of minutes on two cores.
        resnet=dict(stage_sizes=(1, 1, 1), width=16),
        heads=dict(projector_hidden=128, projector_dim=64),
        optimizer={**config.ADAMW, "learning_rate": 2e-3, "warmup_epochs": 0.0},
        train=dict(batch_size=256, epochs=10, checkpoint_every_epochs=10, log_every_steps=5),
        loss=dict(epsilon=0.2),
        evaluation=dict(validation_fraction=0.2),
        byol=dict(target_decay=0.97),
    )
    made.augment.update(flip_probability=0.0, crop_scale=(0.2, 1.0))
    return made
