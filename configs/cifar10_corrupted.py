r"""CIFAR-10-C: the paper's CIFAR-10 run, evaluated on test images under one corruption.

Paper: arXiv 2502.20141, section 6 and Table 2. Images: Hendrycks and Dietterich, "Benchmarking
neural network robustness to common corruptions and perturbations", ICLR 2019. Training is that of
`configs/cifar10.py`, on CIFAR-10's own images; only the test images are corrupted.

    python main.py --mode=prepare --config=configs/cifar10_corrupted.py  # once, with CIFAR-10
    python main.py --config=configs/cifar10_corrupted.py:gca_uot --config.data.corruption=fog \
        --config.data.severity=3 --workdir=runs/cifar10_fog_3
    python main.py --config=configs/cifar10_corrupted.py:gca_uot,smoke --workdir=runs/smoke

To evaluate one run on all 95 corrupted test sets: `python main.py --mode=corruptions
--workdir=runs/cifar10`. The smoke run takes a minute.

Expected time: about 2.5 hours, an estimate. Expected numbers, published (Table 2; all methods are
in `configs/cifar10.py`): 89.61 ± 0.30 % for gca_uot, 87.20 ± 0.37 % for ince. The authors' code
averages the severities of snow alone.
"""

from gca_jax import config


def get_config(options: str = "") -> config.ConfigDict:
    return config.make(
        "images",
        options,
        data=dict(
            name="cifar10_corrupted",
            **config.TFDS,
            corruption="snow",  # or one of 18 others; a wrong name is answered with the list
            severity=5,  # 1 to 5
        ),
        # From here on as configs/cifar10.py.
        side=32,
        augment=dict(policy="cifar", mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
        optimizer=config.SGD,
        byol=config.PUBLISHED_BYOL,
        train=dict(epochs=500),
    )
