"""Recall of pairs of two sets, some of them wrong or few known: evidence beside CCA, linear maps.

    python -m scripts.evidence words=A.npy,B.npy emoji=... --out=docs/results/evidence/evidence.csv

Rows are appended as they come, and those that are there are not computed again. Of each set 400
rows are the gallery, of which nothing is fitted or chosen; the others are the pairs.

    wrong=0.8      80 % of the pairs have the partner of another row
    absent=0.8     the same of half of the rows, the partners of wrong pairs being of the other half
    known=50       the partners of all rows but 50 are there in no order
    faulty=50      the same, and 40 % of the 50 pairs are wrong
    disjoint=50    50 pairs, and rows of which none has its partner on the other side
    unpaired=50    50 pairs, a third of the other rows with their partners in no order, a third on
                   each side without one
    none           no pair is known
    null=...       none is there to find: scores of one side permuted within columns, two Gaussians,
                   both sides with the negatives of their rows (mirrored)

`chosen` is what `models.choice` chose among closed forms and the plan, `name` which it was, and
`evidence` the plan alone. `pairs` is CCA of the pairs as given, `right` of the right ones alone,
`all` of all pairs before any was made wrong: what cannot be known. `share` ± `sd` is of right
pairs, `area` that under the curve by which q tells them, `error` the calibration error of q.
"""

import argparse
import csv
import itertools
import pathlib
import time
from typing import NamedTuple

import numpy as np
from scipy import stats
from sklearn.metrics import roc_auc_score

from gca_jax.models import choice, closed_form, evidence, starts

CASES: dict[str, tuple[float | str, ...]] = {
    "wrong": (0.0, 0.4, 0.8, 0.95),
    "absent": (0.4, 0.8),
    "known": (25, 50, 100),
    "faulty": (50,),
    "disjoint": (50, 400),
    "unpaired": (50,),
    "none": ("",),
    "null": ("permuted", "gaussian", "mirrored"),
}
COLUMNS = ("set", "case", "draw", "pairs", "right", "all", "evidence", "chosen", "name")
COLUMNS += ("share", "sd", "area", "error", "identified", "ratio", "agreement", "seconds")
COLUMNS += ("choice",)
CHOICE = 2  # of its rules: 1 had no mutual neighbours, and three starts
COMPONENTS = {"halves": 64}  # of a set; others have 100
LIMITS = {("halves", "none"): 2_000, ("halves", "null"): 2_000}  # rows of a set in a case
GALLERY = 400
BINS = 10

Row = dict[str, float | str | bool]


class Problem(NamedTuple):
    """Rows of two sets, the given pairs, and which of them are right."""

    x: np.ndarray
    y: np.ndarray
    pairs: np.ndarray
    right: np.ndarray


def rows_of(count: int) -> np.ndarray:
    """Return the pairs (i, i)."""
    return np.stack([np.arange(count)] * 2, axis=1)


def wrong(x: np.ndarray, y: np.ndarray, share: float, rng: np.random.Generator) -> Problem:
    """Give a share of the rows the partner of another one."""
    n, partner = len(x), np.arange(len(x))
    some = rng.choice(n, round(share * n), replace=False)
    partner[some] = np.roll(partner[some], 1)
    return Problem(x, y[partner], rows_of(n), partner == np.arange(n))


def absent(x: np.ndarray, y: np.ndarray, share: float, rng: np.random.Generator) -> Problem:
    """Give a share of half of the rows the partners of rows that are not there."""
    half = len(x) // 2
    partner = np.arange(half)
    some = rng.choice(half, round(share * half), replace=False)
    partner[some] += half
    return Problem(x[:half], y[partner], rows_of(half), partner < half)


def known(
    x: np.ndarray, y: np.ndarray, count: float, rng: np.random.Generator, faulty: float = 0.0
) -> Problem:
    """Name the partners of some rows, and put all in no order."""
    k, order = int(count), rng.permutation(len(x))
    columns, false = np.argsort(order)[:k], round(faulty * count)
    columns[:false] = np.roll(columns[:false], 1)
    right = np.arange(k) >= false
    return Problem(x, y[order], np.stack([np.arange(k), columns], axis=1), right)


def faulty(x: np.ndarray, y: np.ndarray, count: float, rng: np.random.Generator) -> Problem:
    """Name the partners of some rows, 40 % of them wrongly."""
    return known(x, y, count, rng, faulty=0.4)


def disjoint(x: np.ndarray, y: np.ndarray, count: float, rng: np.random.Generator) -> Problem:
    """Name some pairs; of the others keep the one side of a half and the other of the rest."""
    k, order = int(count), rng.permutation(len(x))
    own, first, second = np.split(order, [k, k + (len(x) - k) // 2])
    both = np.concatenate([own, first]), np.concatenate([own, second])
    return Problem(x[both[0]], y[both[1]], rows_of(k), np.ones(k, bool))


def unpaired(x: np.ndarray, y: np.ndarray, count: float, rng: np.random.Generator) -> Problem:
    """Name some pairs; of the others a third keeps both sides, and a third each side alone."""
    k, order = int(count), rng.permutation(len(x))
    third = (len(x) - k) // 3
    own, both, first, second = np.split(order, [k, k + third, k + 2 * third])
    sides = np.concatenate([own, both, first]), np.concatenate([own, rng.permutation(both), second])
    return Problem(x[sides[0]], y[sides[1]], rows_of(k), np.ones(k, bool))


PROBLEMS = {
    "wrong": wrong,
    "absent": absent,
    "known": known,
    "faulty": faulty,
    "disjoint": disjoint,
    "unpaired": unpaired,
}


def with_pairs(of: Problem, row: Row) -> dict[str, closed_form.Maps]:
    """Fit a problem by all means; put into the row what the evidence says of its pairs."""
    x, y = (z[rows] for z, rows in zip(of[:2], of.pairs.T, strict=True))
    found = choice.choose(of.x, of.y, evidence.Given(of.pairs))
    row |= {"name": found.name, "identified": found.identified}
    maps = {"pairs": cca(x, y), "chosen": found.maps, "evidence": found.fit.mixed(0.0)}
    if of.right.sum() > 1:
        maps["right"] = cca(x[of.right], y[of.right])
    judged = evidence.judge(of.x, of.y, maps["evidence"], of.pairs)
    row["share"], row["sd"] = evidence.share_of_right_pairs(judged)
    if not of.right.all():
        q = evidence.calibrated(judged)
        row |= {"area": roc_auc_score(of.right, q), "error": calibration_error(q, of.right)}
    return maps


def calibration_error(q: np.ndarray, right: np.ndarray) -> float:
    """Average |mean q - share of right pairs| over ten bins of q, by their number of pairs."""
    bins = np.minimum((q * BINS).astype(int), BINS - 1)
    sums = [np.bincount(bins, weights, BINS) for weights in (q, right.astype(float))]
    return float(np.abs(sums[0] - sums[1]).sum() / len(q))


def recall(maps: closed_form.Maps, x: np.ndarray, y: np.ndarray) -> float:
    """Return the share of rows whose partner is nearest, in %."""
    nearest = (maps.map_x(x) @ maps.map_y(y).T).argmax(axis=1)
    return 100 * float(np.mean(nearest == np.arange(len(x))))


def cca(x: np.ndarray, y: np.ndarray) -> closed_form.Maps:
    """Fit CCA to pairs of unit rows."""
    return closed_form.cca(closed_form.moments(x, y, centre=False))


def none(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> tuple[closed_form.Maps, starts.Identified]:
    """Fit rows whose partners are there in no order, none of them known."""
    y = y[rng.permutation(len(y))]
    maps = starts.without_pairs(x, y)
    return maps, starts.identified(x, y, maps)


def null(
    name: str, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Make two sets of which no alignment is the right one."""
    if name == "permuted":
        return closed_form.unit(rng.permuted(x, axis=0)), y
    if name == "gaussian":
        x, y = (closed_form.unit(rng.normal(size=z.shape)) for z in (x, y))
        return x, y
    half = len(x) // 2
    return np.concatenate([x[:half], -x[:half]]), np.concatenate([y[:half], -y[:half]])


def unit_scores(rows: np.ndarray, most: int) -> np.ndarray:
    """Project rows on principal components and scale them to unit length."""
    flat = rows.reshape(len(rows), -1).astype(float)
    return closed_form.unit(closed_form.components(flat, most).scores(flat))


def measure(kind: str, amount: float | str, scores: list[np.ndarray], draw: int) -> Row:
    """Return a row's numbers of one case and draw."""
    rng, began = np.random.default_rng([draw, 14]), time.time()
    order = rng.permutation(len(scores[0]))
    test, rest = order[:GALLERY], order[GALLERY:]
    (x, y), gallery = ([z[rows] for z in scores] for rows in (rest, test))
    row: Row = {}
    maps: dict[str, closed_form.Maps] = {}
    if kind == "null":
        x, y = null(str(amount), x, y, rng)
    if kind in PROBLEMS:
        maps = with_pairs(PROBLEMS[kind](x, y, float(amount), rng), row)
    else:
        maps["evidence"], found = none(x, y, rng)
        row |= {"identified": bool(found), "ratio": found.ratio, "agreement": found.agreement}
    maps = {} if kind == "null" else {**maps, "all": cca(x, y)}
    row |= {key: recall(one, *gallery) for key, one in maps.items()}
    row |= {key: round(value, 4) for key, value in row.items() if isinstance(value, float)}
    return row | {"seconds": round(time.time() - began)}


def every() -> list[tuple[str, float | str]]:
    """List all cases."""
    return [(kind, amount) for kind, amounts in CASES.items() for amount in amounts]


def read(path: pathlib.Path) -> list[dict[str, str]]:
    """Read the rows that are there, and give the file the columns that it lacks."""
    path.touch()
    with path.open() as file:
        rows = [*csv.DictReader(file)]
    if rows and tuple(rows[0]) == COLUMNS:
        return rows
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return rows


TABLE = ("pairs", "right", "evidence", "chosen", "share", "area", "error", "seconds")


def table(rows: list[dict[str, str]]) -> str:
    """Return mean ± sd over draws of each set and case, as a table in Markdown.

    `chosen - right` is paired by draws, with the 95 % t interval where there are three or more.
    """
    head = ("set", "case", "draws", *TABLE, "chosen - right")
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for (name, case), group in itertools.groupby(rows, key=lambda row: (row["set"], row["case"])):
        draws = [*group]
        cells = [name, case, str(len(draws))]
        for column in TABLE:
            values = np.array([float(row[column]) for row in draws if row[column]])
            values *= 100 if column == "share" else 1
            digits = 2 if column in ("area", "error") else 1
            sd = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.{digits}f}{sd}" if len(values) else "")
        paired = [(row["chosen"], row["right"]) for row in draws if row["chosen"] and row["right"]]
        apart = np.array([float(one) - float(other) for one, other in paired])
        wide = ""
        if len(apart) > 2:
            half = stats.t.ppf(0.975, len(apart) - 1) * apart.std(ddof=1) / np.sqrt(len(apart))
            wide = f" ± {half:.1f}"
        cells.append(f"{apart.mean():+.1f}{wide}" if len(apart) else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Compute the rows that are missing, draw by draw; without sets print the table of the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sets", nargs="*", help="NAME=A.npy,B.npy; none: print the table")
    parser.add_argument(
        "--draws", type=int, default=5, help="splits, each with its own wrong pairs"
    )
    parser.add_argument("--limit", type=int, default=4_000, help="rows of a set, at most")
    parser.add_argument("--cases", default=",".join(CASES), help="of " + ", ".join(CASES))
    parser.add_argument("--choice", type=int, default=CHOICE, help="rules of the table's rows")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="CSV file, appended to")
    args = parser.parse_args()
    found = read(args.out)
    if not args.sets:
        order = {f"{kind}={amount}".rstrip("="): i for i, (kind, amount) in enumerate(every())}
        found = [row for row in found if row["choice"] == str(args.choice)]
        print(table(sorted(found, key=lambda row: (row["set"], order[row["case"]], row["draw"]))))
        return
    done = {
        (row["set"], row["case"], int(row["draw"])) for row in found if row["choice"] == str(CHOICE)
    }
    cases = [case for case in every() if case[0] in args.cases.split(",")]
    with args.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        for draw, one, (kind, amount) in itertools.product(range(args.draws), args.sets, cases):
            name, files = one.split("=")
            case = kind if amount == "" else f"{kind}={amount}"
            if (name, case, draw) in done:
                continue
            most = min(args.limit, LIMITS.get((name, kind), args.limit))
            scores = [
                unit_scores(np.load(path)[:most], COMPONENTS.get(name, 100))
                for path in files.split(",")
            ]
            row = {"set": name, "case": case, "draw": draw, **measure(kind, amount, scores, draw)}
            row["choice"] = CHOICE
            writer.writerow(row)
            file.flush()
            print(row)


if __name__ == "__main__":
    main()
