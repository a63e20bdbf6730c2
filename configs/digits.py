"""The demo: scikit-learn's 1,797 scanned digits, 8 x 8 pixels, on any machine.

Method: arXiv 2502.20141, which has no experiment on digits; recipe: our own, `gca_jax/config`.

    python main.py --config=configs/digits.py:gca_uot --workdir=runs/digits
    python main.py --config=configs/digits.py:gca_uot,smoke --workdir=runs/smoke  # half a minute

Expected time: under two minutes on two CPU cores, evaluation and report included; a GPU is not
needed (the estimate for an A100-class one is 20 seconds, most of it compilation).
Expected numbers: none published. Raw pixels reach about 89 % with ten labels a class; a trained
encoder must beat them: docs/results/digits.md. A small transformer (`:gca_uot,vit`)
needs more time: `--config.train.epochs=200 --config.optimizer.warmup_epochs=20` gave 98.3 %, 92.5 %
with ten labels a class (one run, seed 0; 85.9 % after 60 epochs with a warm-up of 10, 76.2 %
without one).
"""

from gca_jax import config


def get_config(options: str = "") -> config.ConfigDict:
    digits = config.make(
        "images",
        options,
        data=dict(name="digits", limit=int),
        side=8,
        augment=dict(policy="digits", mean=(0.3054,), std=(0.3760,)),
        # A small network, for a run of two minutes on two cores.
        resnet=dict(stage_sizes=(1, 1), width=32),
        heads=dict(projector_hidden=128, projector_dim=64),
        optimizer={**config.ADAMW, "learning_rate": 2e-3, "warmup_epochs": 0.0},
        train=dict(batch_size=256, epochs=60, checkpoint_every_epochs=20, log_every_steps=1),
        loss=dict(epsilon=0.2),
        evaluation=dict(validation_fraction=0.2),
        byol=dict(target_decay=0.97),  # a run has 300 steps; 0.996 averages over 250 of them
    )
    if digits.method == "byol":
        digits.optimizer.learning_rate = 5e-3  # chosen on validation images among 2e-3 to 1e-2
    return digits
