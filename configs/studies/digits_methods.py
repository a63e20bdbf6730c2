r"""Four methods on digits, three seeds each, ε chosen for each on validation images.

    python main.py --mode=study --config=configs/studies/digits_methods.py --workdir=runs/methods
    python main.py --mode=study --config=configs/studies/digits_methods.py:smoke \
        --config.seeds='(0, 1)' --workdir=runs/smoke  # a few minutes

Expected time: 24 runs of two minutes on two CPU cores. docs/studies.md explains the file.
"""

from gca_jax import studies


def get_config(options: str = "") -> studies.Study:
    more = f",{options}" if options else ""  # for all: smoke, or an encoder
    epsilon = {"loss.epsilon": (0.2, 0.5)}
    return studies.Study(
        "configs/digits.py",
        methods={
            "InfoNCE": studies.Method(f"simclr{more}", choose=epsilon),
            "GCA-INCE": studies.Method(f"gca_ince{more}", choose=epsilon),
            "GCA-UOT": studies.Method(f"gca_uot{more}", choose=epsilon),
            "BYOL": studies.Method(f"byol{more}"),
        },
        reference="InfoNCE",
        seeds=(0, 1, 2),
        choose_by="accuracy.linear",
        measures={"linear probe": "accuracy.linear", "k-NN": "accuracy.knn"},
    )
