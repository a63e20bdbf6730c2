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
DIGITS = {"train.epochs": 20, "train.checkpoint_every_epochs": 20, "evaluation.draws": 5}


def get_config(words: str = "") -> studies.ConfigDict:
    named = set(words.split(",")) - {""}
    data = "cifar10" if "cifar10" in named else "digits"
    more = ",smoke" if "smoke" in named else ""
    q = {"rince": {"loss.q": 0.1}, "gca_rince": {"loss.q": 0.1}} if data == "digits" else {}
    return studies.make(
        f"configs/{data}.py",
        common=DIGITS if data == "digits" else {},
        methods={
            label: studies.Method(f"{method}{more}", q.get(method, {}))
            for label, method in METHODS.items()
        },
        seeds=(0, 1, 2),
        measures={
            "share of the plan within the class, off the positives": "plan_within_class.share",
            "linear probe": "accuracy.linear",
        },
        reference="INCE",
        plans=True,
    )
