"""Recall of pairs of two sets, some of them wrong or few known: evidence beside CCA, linear maps.

    python -m scripts.evidence words=A.npy,B.npy emoji=... --out=docs/results/evidence.csv

Rows are appended as they come, and those that are there are not computed again. Of each set 400
rows are the gallery, of which nothing is fitted or chosen; the others are the pairs. In `wrong=0.8`
80 % of the pairs have the partner of another row; in `known=50` the partners of all rows but 50
are there in no order. `right` is CCA of the right pairs alone, `all` of all pairs before any was
made wrong: what cannot be known.
"""

import argparse
import csv
import pathlib
import time

import numpy as np

from gca_jax.models import closed_form, evidence

WRONG, KNOWN = (0.0, 0.4, 0.8, 0.95), (25, 50, 100)
COLUMNS = ("set", "case", "draw", "pairs", "right", "all", "evidence", "share", "sd", "seconds")
COMPONENTS = {"halves": 64}  # of a set; others have 100
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


def unit_scores(rows: np.ndarray, most: int) -> np.ndarray:
    """Project rows on principal components and scale them to unit length."""
    flat = rows.reshape(len(rows), -1).astype(float)
    return closed_form.unit(closed_form.components(flat, most).scores(flat))


def main() -> None:
    """Compute the rows that are missing, draw by draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sets", nargs="+", help="NAME=A.npy,B.npy")
    parser.add_argument(
        "--draws", type=int, default=5, help="splits, each with its own wrong pairs"
    )
    parser.add_argument("--limit", type=int, default=4_000, help="rows of a set, at most")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="CSV file, appended to")
    args = parser.parse_args()
    args.out.touch()
    with args.out.open() as file:
        done = {(row["set"], row["case"], int(row["draw"])) for row in csv.DictReader(file)}
    with args.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not done:
            writer.writeheader()
        for draw in range(args.draws):
            for name, files in (one.split("=") for one in args.sets):
                scores = [
                    unit_scores(np.load(path)[: args.limit], COMPONENTS.get(name, 100))
                    for path in files.split(",")
                ]
                for kind, amount in [("wrong", w) for w in WRONG] + [("known", k) for k in KNOWN]:
                    case = f"{kind}={amount}"
                    if (name, case, draw) in done:
                        continue
                    rng = np.random.default_rng([draw, 14])
                    order, start = rng.permutation(len(scores[0])), time.time()
                    test, rest = order[:GALLERY], order[GALLERY:]
                    (x, y), gallery = ([z[rows] for z in scores] for rows in (rest, test))
                    share: tuple[float | str, float | str] = ("", "")
                    if kind == "wrong":
                        maps, share = wrong(x, y, amount, rng)
                    else:
                        maps = few(x, y, int(amount), rng)
                    maps["all"] = cca(x, y)
                    found = {key: round(recall(one, *gallery), 2) for key, one in maps.items()}
                    row = {"set": name, "case": case, "draw": draw, **found}
                    row |= {
                        "share": share[0],
                        "sd": share[1],
                        "seconds": round(time.time() - start),
                    }
                    writer.writerow(row)
                    file.flush()
                    print(row)


if __name__ == "__main__":
    main()
