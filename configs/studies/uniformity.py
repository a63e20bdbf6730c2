r"""Claim 1 and Theorem 7: do uniformity and the cross-entropy of a probe move together?

    python main.py --mode=study --config=configs/studies/uniformity.py --workdir=runs/uniformity \
        --jobs=2
    python main.py --mode=study --config=configs/studies/uniformity.py:cifar10 \
        --workdir=runs/uniformity_cifar10  # for a GPU

With `again` after the colon the longest runs alone, with ten other seeds: what differed there with
the first five, the accuracy of GCA-INCE, either differs again or was chance.

Runs of several lengths, as the learning rate falls to zero in each; the report has the correlation
of uniformity with the probe's cross-entropy on test images. Nothing is chosen.

Expected time: docs/results/paper.md has it, beside what came out.
"""

import math

from gca_jax import studies

EPOCHS = {"digits": (1, 3, 10, 30), "cifar10": (10, 50, 200, 500)}


def get_config(options: str = "") -> studies.Study:
    variant = studies.variant(options, flags=("again",))
    common = {"loss.epsilon": 0.1, "evaluation.draws": 2} if variant.small else {}
    epochs_of = EPOCHS[variant.data][-1:] if variant.again else EPOCHS[variant.data]
    methods = {"INCE": "simclr", "GCA-INCE": "gca_ince", "GCA-UOT": "gca_uot"}
    return studies.Study(
        variant.base,
        common={"train.checkpoint_every_epochs": max(epochs_of), **common},
        methods={
            label: studies.Method(f"{method}{variant.suffix}") for label, method in methods.items()
        },
        conditions={
            f"{epochs} epoch{'s' * (epochs > 1)}": studies.Condition(
                {"train.epochs": epochs}, x=math.log10(epochs)
            )
            for epochs in epochs_of
        },
        x_label="log10 of the epochs",
        seeds=variant.seeds,
        measures={
            "uniformity": "uniformity",
            "alignment": "alignment",
            "cross-entropy of the linear probe": "linear_cross_entropy",
            "linear probe": "accuracy.linear",
        },
        plain=("uniformity", "alignment", "cross-entropy of the linear probe"),
        correlate=("uniformity", "cross-entropy of the linear probe"),
        reference="INCE",
    )
