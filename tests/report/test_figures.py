import json
import re
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from gca_jax.report import figures
from gca_jax.report.run import summary
from tests.report.conftest import corruptions


def test_an_image_is_drawn_as_the_number_of_its_class_or_else_by_a_scale(folder):
    report = summary(folder)
    axes = figures.plane(report, folder).axes
    assert len(axes[0].collections) == 3
    folder.arrays["plane_labels"] = np.arange(36)
    axes = figures.plane(report, folder).axes
    assert axes[1].get_ylabel() == "class"


def test_without_labels_every_image_is_a_point(folder):
    del folder.arrays["plane_labels"]
    axes = figures.plane(summary(folder), folder).axes
    assert [len(drawn.get_offsets()) for drawn in axes[0].collections] == [36]
    assert len(axes) == 1


def test_a_query_stands_before_its_neighbours_and_those_of_another_class_are_framed(folder):
    panels = figures.nearest(summary(folder), folder).axes
    images, labels = (folder.arrays[f"nearest_{name}"] for name in ("images", "labels"))
    assert [panel.get_title() for panel in panels[:3]] == [
        "query\nclass 0",
        "0.99\nclass 0",
        "0.90\nclass 1",
    ]
    for panel, image, framed in zip(
        panels, images.reshape(8, 8, 8), (labels != labels[:, :1]).ravel(), strict=True
    ):
        np.testing.assert_array_equal(panel.images[0].get_array()[..., 0], image / 255)
        assert panel.spines["top"].get_visible() == framed


NAMES = {"class_names": ["T-shirt/top", "Ankle boot", "a class with a very long name"]}
NAMES |= {"domain_names": ["art painting", "photo"]}


def with_names(folder):
    folder.evaluation["dataset"] |= NAMES
    return summary(folder)


def test_classes_and_domains_have_their_names(folder):
    report = with_names(folder)
    panels = figures.nearest(report, folder, "nearest_across").axes
    assert [panel.get_title() for panel in panels[:4]] == [
        "query\nT-shirt/top\nart painting",
        "0.89\nT-shirt/top\nphoto",
        "0.70\nAnkle boot\nphoto",
        "0.60\na class …ng name\nphoto",
    ]
    for draw, axis in ((figures.confusion, "x"), (figures.confusion, "y"), (figures.plan, "x")):
        axes = draw(report, folder).axes[0]
        ticks = [text.get_text() for text in getattr(axes, f"get_{axis}ticklabels")()]
        assert ticks[:3] == NAMES["class_names"]
    legend = figures.plane(report, folder).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == NAMES["class_names"]


def test_a_name_with_an_underscore_first_is_in_the_legend(folder):
    folder.evaluation["dataset"] |= {"class_names": ["_x", "$1_$5", "a|b"]}
    legend = figures.plane(summary(folder), folder).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["\u200b_x", r"\$1_\$5", "a|b"]


def test_letters_of_another_script_are_drawn_by_a_font_that_has_them(tmp_path, monkeypatch, capsys):
    """⌒ is in STIX and not in DejaVu; no font has a letter of a private area."""
    monkeypatch.setattr(figures, "FALLBACKS", ("STIXGeneral", "no such font"))
    images = {}
    for name in ("a\u2312b", "a\u2313b", "a\ue2f7b"):
        with figures.any_script():
            figure = Figure()
            figure.suptitle(figures.label(name))
            figure.savefig(tmp_path / "x.png")
        images[name] = (tmp_path / "x.png").read_bytes()
        said = capsys.readouterr().out
        assert ("no font here has 1 letter" in said) == ("\ue2f7" in name)
    assert len({*images.values()}) == 3


def test_the_map_by_domain_stands_beside_the_one_by_class(folder):
    folder.arrays["plane_domains"] = np.arange(36) % 2
    by_class, by_domain = figures.plane(with_names(folder), folder).axes
    assert (by_class.get_title(), by_domain.get_title()) == ("by class", "by domain")
    drawn = {one.get_label(): one.get_offsets() for one in by_domain.collections}
    assert [*drawn] == NAMES["domain_names"]
    np.testing.assert_array_equal(drawn["photo"], folder.arrays["plane"][1::2])


def test_a_plan_by_domains_has_their_names(folder):
    report = with_names(folder) | {"plan_of": {"kind": "domain", "part": "training"}}
    folder.arrays["plan_labels"] = np.repeat([0, 1], 6)
    drawn = figures.plan(report, folder)
    assert drawn.get_suptitle() == "gca_uot on digits: training images sorted by domain"
    assert drawn.axes[0].get_title().startswith("transport plan of a batch\n")
    ticks = [text.get_text() for text in drawn.axes[0].get_xticklabels()]
    assert ticks == 2 * NAMES["domain_names"]


def test_one_domain_is_no_picture(folder):
    folder.arrays["plane_domains"] = np.full(36, 1)
    (axes,) = figures.plane(with_names(folder), folder).axes
    assert len(axes.collections) == 3


def test_the_words_beside_the_rows_of_both_views_read_in_their_order(folder):
    """Turned by 270° letters go downwards, as rows do; from the first view to the second."""
    folder.arrays["target"] = np.kron([[0, 1], [0, 0]], np.eye(12))  # first rows, second columns
    figure = figures.plan(summary(folder), folder)
    axes = figure.axes[1]
    (row, column), *_ = np.argwhere(~axes.images[0].get_array().mask)
    assert axes.transData.transform((column, row))[1] > axes.transData.transform((0, 12))[1]
    assert axes.yaxis.label.get_rotation() == 270
    assert axes.xaxis.label.get_rotation() == 0
    for label in (axes.get_ylabel(), axes.get_xlabel()):
        assert re.fullmatch(r"first view\W+class\W+second view", label)
    axes, labels = figure.axes[0], np.tile(folder.arrays["plan_labels"], 2)
    for at, text in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True):
        rows = labels[[int(np.floor(at)), int(np.ceil(at))]]
        assert rows.tolist() == 2 * [int(text.get_text())]


LONG = "plates of the herbarium, " * 5 + "second pass"
ODD = "ACGT" * 15  # no space, wide letters


@pytest.mark.parametrize("name", figures.FIGURES)
@pytest.mark.parametrize("root", [LONG, ODD, "$a$ and $b"])
def test_titles_and_names_of_a_folder_are_whole(folder, name, root):
    """All that is written lies inside of the picture, and both ends of a long name are read."""
    report = with_names(folder) | {"dataset": "folder", "corruptions": corruptions()}
    names = [f"{root} {k}" for k in range(3)]
    report["split"] |= {"class_names": names, "domain_names": names}
    report["config"] |= {"data": {"kind": "images", "name": "folder", "root": f"/{root}"}}
    figure = figures.FIGURES[name](report, folder)
    figure.draw_without_rendering()
    title = figure._suptitle
    ends = (root[:8], root[-8:]) if len(root) > 20 else (root.replace("$", r"\$"),)
    assert all(end in title.get_text() for end in ends)
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    boxes = [title.get_window_extent(), *(axes.get_tightbbox() for axes in figure.axes)]
    boxes += [legend.get_window_extent() for legend in legends]
    for box in boxes:
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= figure.bbox.x1 + 1
        assert box.y1 <= figure.bbox.y1 + 1
    above = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    for one, other in pairwise(sorted(above, key=lambda box: (-round(box.y0), box.x0))):
        assert not one.overlaps(other)


def test_shares_of_each_class_are_in_percent(folder):
    axes = figures.confusion(summary(folder), folder).axes[0]
    expected = [[75, 100 / 12, 200 / 12], [0, 100, 0], [25, 0, 75]]
    np.testing.assert_allclose(axes.images[0].get_array(), expected)
    assert [text.get_text() for text in axes.texts] == ["75", "8", "17", "100", "25", "75"]


@pytest.mark.parametrize("name", figures.FIGURES)
def test_axes_are_labelled_and_no_text_overlaps_or_leaves_the_picture(folder, name):
    report = with_names(folder) | {"corruptions": corruptions()}
    figure = figures.FIGURES[name](report, folder)
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert axes.get_ylabel() or axes.get_title()
        ticks = [t for t in axes.get_xticklabels() if t.get_text() and t.get_visible()]
        boxes = sorted((t.get_window_extent() for t in ticks), key=lambda box: box.x0)
        assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))
        whole = axes.get_tightbbox()
        assert whole.x0 >= -1
        assert whole.y0 >= -1
        assert whole.x1 <= figure.bbox.x1 + 1
        assert whole.y1 <= figure.bbox.y1 + 1
    if figure._suptitle is not None:
        title = figure._suptitle.get_window_extent()
        assert all(axes.get_tightbbox().y1 <= title.y0 + 1 for axes in figure.axes)


def test_a_gap_in_the_log_is_a_gap_in_the_line(folder):
    rows = folder.log
    rows[3]["loss"] = None
    del rows[4]["loss"]
    (folder.path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (values,) = figures.columns(folder, "loss")
    assert np.flatnonzero(np.isnan(values)).tolist() == [3, 4]


def test_a_curve_has_its_interval_as_a_band():
    axes = Figure().subplots()
    x, y, half = np.array([[0, 1, 3], [5, 4, 2], [1, 0.5, 2]])
    line = figures.curve(axes, x, y, half, color="#0072B2")
    np.testing.assert_array_equal(line.get_xydata(), np.stack([x, y], axis=1))
    corners = {tuple(at) for at in axes.collections[0].get_paths()[0].vertices}
    assert corners == {*zip(x, y - half, strict=True), *zip(x, y + half, strict=True)}
    figures.curve(axes, x, y)
    assert len(axes.collections) == 1


def test_accuracy_falls_from_clean_images_on(folder):
    panels = figures.corruptions(summary(folder) | {"corruptions": corruptions()}, folder).axes
    assert [panel.get_title() for panel in panels][-1] == "occlusion"
    assert len(panels) == 11
    for panel in panels:
        lines = {line.get_label(): line.get_ydata() for line in panel.lines}
        assert list(lines) == ["trained encoder", "untrained encoder", "raw pixels"]
        np.testing.assert_allclose(lines["raw pixels"], [70, 65, 60, 55, 50, 45])
