"""`python -m gca_jax.theorems`: prints the table of theorems."""

import argparse

import jax

from gca_jax.theorems.table import Line, table


def main() -> None:
    """Tries every theorem in float64, prints the table, fails if one that always holds did not."""
    parser = argparse.ArgumentParser(prog="python -m gca_jax.theorems", description=main.__doc__)
    parser.add_argument("--batches", type=int, default=300, help="random batches (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the batches (default 0)")
    arguments = parser.parse_args()
    if arguments.batches < 4:
        parser.error("--batches must be at least 4")
    jax.config.update("jax_enable_x64", True)
    lines = table(arguments.batches, arguments.seed)
    print(render(lines))
    if any(line.held < line.tried for line in lines if line.claim == "always"):
        raise SystemExit("a theorem that always holds was violated: a bug here, or a discovery")


def render(lines: list[Line]) -> str:
    """The lines as a text table."""
    head = f"{'theorem':<18} {'held / tried':>12}  {'worst residual':>14}  {'tolerance':>9}  "
    rows = [head + f"{'holds':<45} statement"]
    for line in lines:
        rows.append(
            f"{line.name:<18} {f'{line.held} / {line.tried}':>12}  {line.residual:>14.1e}  "
            f"{line.tolerance:>9.0e}  {line.claim:<45} {line.statement}"
        )
    rows.append("Claim 1 (uniformity and downstream loss move together) is empirical, under")
    rows.append("Assumptions 1 and 2: see the pictures of a run. Residuals are relative.")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
