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


def get_config(options: str = "") -> studies.Study:
    variant = studies.variant(options, flags=("uot",))
    uot = "uot" in variant.flags
    return studies.Study(
        variant.base,
        common=variant.common,
        methods=_uot(variant.suffix) if uot else _rince(variant.suffix),
        conditions={
            f"{'w_rince' if uot else 'λ'} = {value:g}": {
                "loss.w_rince" if uot else "loss.lam": value
            }
            for value in ((0.0, 0.02, 1.0) if uot else (0.001, 0.01, 0.1))
        },
        seeds=(0, 1, 2, 3, 4),
        measures={
            "linear probe, few labels": variant.accuracy_of_few,
            "linear probe": "accuracy.linear",
            "k-NN": "accuracy.knn",
        },
    )


def _rince(suffix: str) -> dict[str, studies.Method]:
    return {
        f"q = {q:g}": studies.Method(f"gca_rince{suffix}", {"loss.q": q}) for q in (0.1, 0.5, 0.98)
    }


def _uot(suffix: str) -> dict[str, studies.Method]:
    return {
        f"penalties = {penalty:g}": studies.Method(
            f"gca_uot{suffix}", {"loss.penalty_a": penalty, "loss.penalty_b": penalty}
        )
        for penalty in (0.05, 0.5, 5.0)
    }
