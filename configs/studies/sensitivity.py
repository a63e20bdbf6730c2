r"""How much the settings of RINCE and of GCA-UOT matter (Figure A7).

    python main.py --mode=study --config=configs/studies/sensitivity.py --workdir=runs/rince \
        --jobs=2  # GCA-RINCE: q and λ
    python main.py --mode=study --config=configs/studies/sensitivity.py:uot --workdir=runs/uot \
        --jobs=2  # GCA-UOT: marginal penalties and the weight of its RINCE term
    python main.py --mode=study --config=configs/studies/sensitivity.py:cifar10,uot \
        --workdir=runs/uot_cifar10  # for a GPU

Nothing is chosen: the settings are the axes.

Expected time: docs/results/paper.md has it, beside what came out.
"""

from gca_jax import studies

DIGITS = {"train.epochs": 20, "train.checkpoint_every_epochs": 20, "evaluation.draws": 5}


def get_config(words: str = "") -> studies.ConfigDict:
    named = set(words.split(",")) - {""}
    data = "cifar10" if "cifar10" in named else "digits"
    more = ",smoke" if "smoke" in named else ""
    few = f"linear_{5 if more else 10}_per_class"
    return studies.make(
        f"configs/{data}.py",
        common=DIGITS if data == "digits" else {},
        methods=_uot(more) if "uot" in named else _rince(more),
        conditions={
            f"{'w_rince' if 'uot' in named else 'λ'} = {value:g}": {
                "loss.w_rince" if "uot" in named else "loss.lam": value
            }
            for value in ((0.0, 0.02, 1.0) if "uot" in named else (0.001, 0.01, 0.1))
        },
        seeds=(0, 1, 2),
        measures={
            "linear probe, few labels": f"accuracy.{few}",
            "linear probe": "accuracy.linear",
            "k-NN": "accuracy.knn",
        },
    )


def _rince(more: str) -> dict[str, studies.Method]:
    return {
        f"q = {q:g}": studies.Method(f"gca_rince{more}", {"loss.q": q})
        for q in (0.1, 0.3, 0.6, 0.98)
    }


def _uot(more: str) -> dict[str, studies.Method]:
    return {
        f"penalties = {penalty:g}": studies.Method(
            f"gca_uot{more}", {"loss.penalty_a": penalty, "loss.penalty_b": penalty}
        )
        for penalty in (0.05, 0.2, 1.0, 5.0)
    }
