r"""Figure A4: the mean transport plan of each method over test batches sorted by class.

    python main.py --mode=study --config=configs/studies/figure_a4.py --workdir=runs/plans --jobs=2
    python main.py --mode=study --config=configs/studies/figure_a4.py:cifar10 \
        --workdir=runs/plans_cifar10  # for a GPU

All with the ε of the base config, so that the plans may be compared.

Expected time: docs/results/paper.md has it, beside what came out.
"""

from gca_jax import studies

METHODS = {
    "INCE": "simclr",
    "GCA-INCE": "gca_ince",
    "RINCE": "rince",
    "GCA-RINCE": "gca_rince",
    "GCA-UOT": "gca_uot",
    "BYOL": "byol",
}


def get_config(options: str = "") -> studies.Study:
    variant = studies.variant(options)
    q = {"rince": {"loss.q": 0.1}, "gca_rince": {"loss.q": 0.1}} if variant.small else {}
    return studies.Study(
        variant.base,
        common=variant.common,
        methods={
            label: studies.Method(f"{method}{variant.suffix}", q.get(method, {}))
            for label, method in METHODS.items()
        },
        seeds=(0, 1, 2, 3, 4),
        measures={
            "share of the plan within the class, off the positives": "plan_within_class.share",
            "linear probe": "accuracy.linear",
        },
        reference="INCE",
        plans=True,
    )
