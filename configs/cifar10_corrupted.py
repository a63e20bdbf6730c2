"""CIFAR-10-C: the paper's CIFAR-10 run, judged on test images under one corruption.

Method: GCA, "Your contrastive learning problem is secretly a distribution alignment problem",
NeurIPS 2024, arXiv 2502.20141, section 6 and Table 2; settings from the authors' published code.
Images: Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations", ICLR 2019.

    python main.py --mode=prepare --config=configs/cifar10_corrupted.py
    python main.py --config=configs/cifar10_corrupted.py:gca_uot --config.data.corruption=fog \
        --config.data.severity=3 --workdir=runs/cifar10_fog_3

The first command is needed once and prepares CIFAR-10 and all 95 corrupted test sets. Whatever the
corruption, training is that of `configs/cifar10.py` on CIFAR-10's own images; only the test images
are corrupted.

To judge one run by all of them: `python main.py --mode=corruptions --workdir=runs/cifar10`.

Expected time: as `configs/cifar10.py`, about 2.5 hours on one A100-class GPU; an estimate.
Expected numbers, published (Table 2, CIFAR-10-C; `configs/cifar10.py` has all methods): 89.61 ±
0.30 % for gca_uot, 87.20 ± 0.37 % for ince; none measured here. The authors' code averages the
severities of snow alone.
Smoke run: every part once, on a few images, in about a minute on two cores:

    python main.py --config=configs/cifar10_corrupted.py:gca_uot,smoke --workdir=runs/smoke
"""

import pathlib
import runpy

from ml_collections import ConfigDict

CIFAR10 = pathlib.Path(__file__).with_name("cifar10.py")


def get_config(words: str = "") -> ConfigDict:
    config = runpy.run_path(str(CIFAR10))["get_config"](words)
    config.data.name = "cifar10_corrupted"
    config.data.corruption = "snow"  # or one of 18 others; a wrong name is answered with the list
    config.data.severity = 5  # 1 to 5
    return config
