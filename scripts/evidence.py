"""Recall of pairs of two sets, some of them wrong or few known: evidence beside CCA, linear maps.

    python -m scripts.evidence words=A.npy,B.npy emoji=... --out=docs/results/evidence.csv

Rows are appended as they come, and those that are there are not computed again. Of each set 400
rows are the gallery, of which nothing is fitted or chosen; the others are the pairs. In `wrong=0.8`
80 % of the pairs have the partner of another row; in `known=50` the partners of all rows but 50
are there in no order. `right` is CCA of the right pairs alone, `all` of all pairs before any was
made wrong: what cannot be known. In `none` no pair is known; `null=permuted`, `null=gaussian` and
`null=mirrored` have none to find: scores of one side permuted within columns, two Gaussians, and
both sides with the negatives of their rows. Of these a row says whether the fit is `identified`.
"""

import argparse
import csv
import itertools
import pathlib
import time

import numpy as np

from gca_jax.models import closed_form, evidence, starts

CASES: dict[str, tuple[float | str, ...]] = {
    "wrong": (0.0, 0.4, 0.8, 0.95),
    "known": (25, 50, 100),
    "none": ("",),
    "null": ("permuted", "gaussian", "mirrored"),
}
COLUMNS = ("set", "case", "draw", "pairs", "right", "all", "evidence", "share", "sd", "seconds")
COLUMNS += ("identified", "ratio", "agreement")
COMPONENTS = {"halves": 64}  # of a set; others have 100
LIMITS = {("halves", "none"): 2_000, ("halves", "null"): 2_000}  # rows of a set in a case
GALLERY = 400


def recall(maps: closed_form.Maps, x: np.ndarray, y: np.ndarray) -> float:
    """Return the share of rows whose partner is nearest, in %."""
    nearest = (maps.map_x(x) @ maps.map_y(y).T).argmax(axis=1)
    return 100 * float(np.mean(nearest == np.arange(len(x))))


def cca(x: np.ndarray, y: np.ndarray) -> closed_form.Maps:
    """Fit CCA to pairs of unit rows."""
    return closed_form.cca(closed_form.moments(x, y, centre=False))


def wrong(
    x: np.ndarray, y: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[dict[str, closed_form.Maps], tuple[float, float]]:
    """Fit pairs of which a share has the partner of another row."""
    n, partner = len(x), np.arange(len(x))
    some = rng.choice(n, round(share * n), replace=False)
    partner[some] = np.roll(partner[some], 1)
    right, given = partner == np.arange(n), y[partner]
    fit = evidence.of_pairs(x, given, seed=int(rng.integers(2**31)))
    judged = evidence.judge(x, given, fit.maps, np.stack([np.arange(n)] * 2, axis=1))
    maps = {"pairs": cca(x, given), "right": cca(x[right], y[right]), "evidence": fit.maps}
    return maps, evidence.share_of_right_pairs(judged)


def few(
    x: np.ndarray, y: np.ndarray, count: int, rng: np.random.Generator
) -> dict[str, closed_form.Maps]:
    """Fit some known pairs, and rows whose partners are there in no order."""
    order = rng.permutation(len(x))
    pairs = np.stack([np.arange(count), np.argsort(order)[:count]], axis=1)
    start = closed_form.procrustes(closed_form.moments(x[:count], y[:count], centre=False))
    fit = evidence.align(x, y[order], evidence.Given(pairs), start, share=0.9)
    known = cca(x[:count], y[:count])
    return {"pairs": known, "right": known, "evidence": fit.maps}


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


def measure(
    kind: str, amount: float | str, scores: list[np.ndarray], draw: int
) -> dict[str, float | str | bool]:
    """Return a row's numbers of one case and draw."""
    rng, began = np.random.default_rng([draw, 14]), time.time()
    order = rng.permutation(len(scores[0]))
    test, rest = order[:GALLERY], order[GALLERY:]
    (x, y), gallery = ([z[rows] for z in scores] for rows in (rest, test))
    row: dict[str, float | str | bool] = {}
    maps: dict[str, closed_form.Maps] = {}
    if kind == "null":
        x, y = null(str(amount), x, y, rng)
    if kind in ("none", "null"):
        maps["evidence"], found = none(x, y, rng)
        row |= {"identified": bool(found), "ratio": found.ratio, "agreement": found.agreement}
    elif kind == "wrong":
        maps, (row["share"], row["sd"]) = wrong(x, y, float(amount), rng)
    else:
        maps = few(x, y, int(amount), rng)
    if kind == "null":
        maps = {}
    else:
        maps["all"] = cca(x, y)
    row |= {key: round(recall(one, *gallery), 2) for key, one in maps.items()}
    return row | {"seconds": round(time.time() - began)}


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


def main() -> None:
    """Compute the rows that are missing, draw by draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sets", nargs="+", help="NAME=A.npy,B.npy")
    parser.add_argument(
        "--draws", type=int, default=5, help="splits, each with its own wrong pairs"
    )
    parser.add_argument("--limit", type=int, default=4_000, help="rows of a set, at most")
    parser.add_argument("--cases", default=",".join(CASES), help="of " + ", ".join(CASES))
    parser.add_argument("--out", type=pathlib.Path, required=True, help="CSV file, appended to")
    args = parser.parse_args()
    done = {(row["set"], row["case"], int(row["draw"])) for row in read(args.out)}
    cases = [(kind, amount) for kind in args.cases.split(",") for amount in CASES[kind]]
    with args.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        for draw, one, (kind, amount) in itertools.product(range(args.draws), args.sets, cases):
            name, files = one.split("=")
            case = f"{kind}={amount}" if amount else kind
            if (name, case, draw) in done:
                continue
            most = min(args.limit, LIMITS.get((name, kind), args.limit))
            scores = [
                unit_scores(np.load(path)[:most], COMPONENTS.get(name, 100))
                for path in files.split(",")
            ]
            row = {"set": name, "case": case, "draw": draw, **measure(kind, amount, scores, draw)}
            writer.writerow(row)
            file.flush()
            print(row)


if __name__ == "__main__":
    main()
