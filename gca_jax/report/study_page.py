"""The page of a study's report."""

import math
from collections.abc import Iterator, Sequence

from gca_jax.check import counted
from gca_jax.report.markdown import table, wrap
from gca_jax.report.study_relations import correlation_table
from gca_jax.studies import statistics
from gca_jax.studies.grid import Cell
from gca_jax.studies.results import Results
from gca_jax.studies.statistics import Entry, Measured
from gca_jax.studies.study import Study

NOTHING = "–"
SHOWN = 20  # folders that are missing
CAPTIONS = {
    "headline": "Mean over seeds and its 95 % interval, by condition",
    "differences": "Paired differences to the reference and their 95 % intervals",
    "plans": "Mean transport plans over test batches sorted by class, mean over seeds",
    "training": "Loss of training batches: mean over seeds and its 95 % interval",
}


def render(
    study: Study,
    grid: list[Cell],
    results: Results,
    measured: list[Measured],
    command: str,
    pictures: Sequence[str],
) -> str:
    """Write the page; of a study that was stopped it says what is missing."""
    parts = [_heading(study, results, command), *_measures(study, measured, pictures)]
    parts.append(correlation_table(study, results))
    if "plans" in pictures:
        parts.append(f"## Transport plans\n\n{_picture('plans')}\n")
    if "training" in pictures:
        parts.append(f"## Training\n\n{_picture('training')}\n")
    parts += [
        _published(study, measured),
        _choices(study, grid, results),
        _left(results),
        _words(study),
    ]
    return "\n".join(part for part in parts if part)


def _heading(study: Study, results: Results, command: str) -> str:
    total = len(study.seeds) * len(study.methods) * len(study.conditions)
    of = f"`{study.base}`" if study.base else "one config"
    methods = counted(len(study.methods), "method")
    conditions = counted(len(study.conditions), "condition")
    words = (
        f"{methods}, {conditions}, seeds "
        f"{', '.join(map(str, study.seeds))}: {len(results.rows)} of {total} final runs are in "
        "this report."
    )
    if results.missing or results.failed:
        words += " **It is not complete**: see [what is missing](#what-is-missing)."
    return f"# A study of {of}\n\n{wrap(words)}\n    {command}\n"


def _measures(study: Study, measured: list[Measured], pictures: Sequence[str]) -> Iterator[str]:
    for index, one in enumerate(measured):
        named = [name for name in ("headline", "differences") if name in pictures and not index]
        shown = "".join(f"\n{_picture(name)}\n" for name in named)
        yield f"## {one.label[:1].upper()}{one.label[1:]}\n\n{_values(study, one)}{shown}"
        if study.references:
            yield _differences(study, one)
        if any(entry.items for entry in one.entries.values()):
            yield _items(study, one)


def _picture(name: str) -> str:
    return f"![{CAPTIONS[name]}](figures/{name}.png)"


def _values(study: Study, measured: Measured) -> str:
    rows = [
        [method, *(_value(study, measured, c, method) for c in study.conditions)]
        for method in study.methods
    ]
    return table([f"{measured.unit}, mean ± sd", *study.conditions], rows)


def _value(study: Study, measured: Measured, condition: str, method: str) -> str:
    summary = measured.entries[condition, method].summary
    if not summary.n:
        return NOTHING
    few = f" (n = {summary.n})" if summary.n < len(study.seeds) else ""
    return f"{_around(summary.mean, summary.sd, measured.plain)}{few}"


def _around(mean: float, spread: float, plain: bool, sign: str = "") -> str:
    digits = f"{sign}.4g" if plain else f"{sign}.2f"
    after = "" if math.isnan(spread) else f" ± {spread:{digits.removeprefix('+')}}"
    return f"{mean:{digits}}{after}"


def _differences(study: Study, measured: Measured) -> str:
    rows = [
        [
            _minus(study, method),
            *(_difference(measured.entries[c, method], measured) for c in study.conditions),
        ]
        for method in study.methods
        if study.reference_of(method)
    ]
    unit = "as measured" if measured.plain else "points"
    head = [f"{_references(study)}{unit} ± half-width (p after Holm)", *study.conditions]
    return table(head, rows) if rows else ""


def _references(study: Study) -> str:
    """Name the one reference that all are compared with; nothing where there are several."""
    return f"minus {study.references.pop()}, " if len(study.references) == 1 else ""


def _minus(study: Study, method: str) -> str:
    return method if _references(study) else f"{method} minus {study.reference_of(method)}"


def _difference(entry: Entry, measured: Measured) -> str:
    difference = entry.difference
    if difference is None or not difference.n:
        return NOTHING
    words = _around(difference.mean, difference.half_width, measured.plain, "+")
    words = f"**{words}**" if entry.differs else words
    if math.isnan(entry.p_holm):
        return words
    shown = "< 0.001" if entry.p_holm < 0.001 else f"{entry.p_holm:.3f}"
    return f"{words} ({shown})"


def _items(study: Study, measured: Measured) -> str:
    rows = []
    for method in study.methods:
        if not study.reference_of(method):
            continue
        cells = []
        for condition in study.conditions:
            items = measured.entries[condition, method].items
            shown = [f"{x:+.4g}" if measured.plain else f"{x:+.2f}" for x in items or ()]
            cells.append(f"{shown[0]} [{shown[1]}, {shown[2]}]" if shown else NOTHING)
        rows.append([_minus(study, method), *cells])
    head = [f"{_references(study)}bootstrap over test items", *study.conditions]
    return table(head, rows)


def _published(study: Study, measured: list[Measured]) -> str:
    if not study.published or not measured:
        return ""
    headline, rows = measured[0], []
    for condition, method, mean, sd, n in study.as_json()["published"]:
        half = statistics.half_width(sd, n)
        ours = headline.entries[condition, method].summary
        shown = _around(ours.mean, ours.half_width, headline.plain) if ours.n else NOTHING
        theirs = f"{_around(mean, half, headline.plain)} (n = {n})"
        rows.append([condition, method, theirs, f"{shown} (n = {ours.n})"])
    head = ["condition", "method", f"published {headline.unit}", "ours"]
    words = wrap("Means with the half-widths of their 95 % t intervals.")
    return f"## Published numbers\n\n{table(head, rows)}\n{words}"


def _choices(study: Study, grid: list[Cell], results: Results) -> str:
    """Say what was chosen, by which budget."""
    if not any(cell.chooses for cell in grid):
        return ""
    rows = []
    for cell in grid:
        choice = results.choices[cell.condition, cell.method]
        settings, score = "not chosen yet" if not choice.complete else "none finished", NOTHING
        if choice.best is not None:
            found = cell.candidates[choice.best].items()
            settings = ", ".join(f"{key} = {value}" for key, value in found) or "as configured"
            best = choice.scores[choice.best]
            score = NOTHING if best is None else f"{best:.4f}"
        tried = str(len(cell.candidates)) if cell.chooses else "0"
        rows.append([cell.condition, cell.method, settings, tried, score])
    head = ["condition", "method", "chosen", "candidates", f"validation {study.choose_by}"]
    seeds = ", ".join(map(str, study.trial_seeds))
    words = (
        f"Each candidate was run with seed {seeds} and judged on validation data, which it "
        "was not trained with; the best mean was chosen, the earlier of equal ones. The final runs "
        "are judged on the test data, which nothing was chosen by."
    )
    return f"## Settings\n\n{table(head, rows)}\n{wrap(words)}{_budgets(grid)}"


def _budgets(grid: list[Cell]) -> str:
    budgets = {cell.method: len(cell.candidates) for cell in grid}
    if len(set(budgets.values())) == 1:
        return ""
    listed = ", ".join(f"{method} {number}" for method, number in budgets.items())
    words = (
        f"**Warning**: the methods had different numbers of candidates ({listed}), and more tries "
        "find a better best."
    )
    return f"\n{wrap(words)}"


def _left(results: Results) -> str:
    lines = [f"- failed: `{one['folder']}`: {one['error']}" for one in results.failed]
    lines += [f"- not done: {folder}" for folder in results.missing[:SHOWN]]
    if len(results.missing) > SHOWN:
        lines.append(f"- and {len(results.missing) - SHOWN} more")
    if not lines:
        return ""
    more = "\n\nThe same command does what is left.\n"
    return "## What is missing\n\n" + "\n".join(lines) + more


def _words(study: Study) -> str:
    lines = [
        "± behind a mean is the standard deviation over seeds (n − 1). Each seed changes initial "
        "weights, batches and all else that is drawn in a run; the split of the data set "
        "is the same in all.",
    ]
    if study.references:
        lines.append(
            "Differences are taken seed by seed. ± behind one is half the width of its 95 % t "
            "interval, not corrected; p values are of the paired t-test, corrected by Holm's "
            "method over all comparisons of the measure. Bold: below 0.05 after the correction."
        )
    lines.append(
        "Seeds are the unit: the intervals say what other seeds would give on the same data, "
        "not what other data would."
    )
    return "## How to read the numbers\n\n" + "".join(wrap(f"- {line}", "  ") for line in lines)
