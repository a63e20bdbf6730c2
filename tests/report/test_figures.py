import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from gca_jax.report import classes, figures
from gca_jax.report.reading import read
from tests.report.conftest import corruptions


def test_an_image_is_drawn_as_the_number_of_its_class_or_else_by_a_scale(folder):
    run = read(folder)
    axes = classes.plane(run).axes
    assert len(axes[0].collections) == 3
    arrays = {**run.arrays, "plane_labels": np.arange(36)}
    axes = classes.plane(dataclasses.replace(run, arrays=arrays)).axes
    assert axes[1].get_ylabel() == "class"


def test_without_labels_every_image_is_a_point(folder):
    run = read(folder)
    points = {"plane": run.arrays["plane"]}
    axes = classes.plane(dataclasses.replace(run, arrays=points)).axes
    assert [len(drawn.get_offsets()) for drawn in axes[0].collections] == [36]
    assert len(axes) == 1


def test_a_query_stands_before_its_neighbours_and_those_of_another_class_are_framed(folder):
    run = read(folder)
    panels = classes.nearest(run).axes
    images, labels = run.arrays["nearest_images"], run.arrays["nearest_labels"]
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


def with_names(run):
    run.evaluation["dataset"] |= NAMES
    return run


def test_classes_and_domains_have_their_names(folder):
    run = with_names(read(folder))
    panels = classes.nearest(run, "nearest_across").axes
    assert [panel.get_title() for panel in panels[:4]] == [
        "query\nT-shirt/top\nart painting",
        "0.89\nT-shirt/top\nphoto",
        "0.70\nAnkle boot\nphoto",
        "0.60\na class with a …\nphoto",
    ]
    for draw, axis in ((classes.confusion, "x"), (classes.confusion, "y"), (figures.plan, "x")):
        axes = draw(run).axes[0]
        ticks = [text.get_text() for text in getattr(axes, f"get_{axis}ticklabels")()]
        assert ticks[:3] == NAMES["class_names"]
    legend = classes.plane(run).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == NAMES["class_names"]


def test_the_map_by_domain_stands_beside_the_one_by_class(folder):
    run = with_names(read(folder))
    run.arrays["plane_domains"] = np.arange(36) % 2
    by_class, by_domain = classes.plane(run).axes
    assert (by_class.get_title(), by_domain.get_title()) == ("by class", "by domain")
    drawn = {one.get_label(): one.get_offsets() for one in by_domain.collections}
    assert [*drawn] == NAMES["domain_names"]
    np.testing.assert_array_equal(drawn["photo"], run.arrays["plane"][1::2])


def test_a_plan_by_domains_has_their_names(folder):
    run = with_names(read(folder))
    run.evaluation["plan_of"] = {"kind": "domain", "part": "training"}
    run.arrays["plan_labels"] = np.repeat([0, 1], 6)
    drawn = figures.plan(run)
    assert drawn.get_suptitle() == "gca_uot on digits: training images sorted by domain"
    assert drawn.axes[0].get_title().startswith("transport plan of a batch\n")
    ticks = [text.get_text() for text in drawn.axes[0].get_xticklabels()]
    assert ticks == 2 * NAMES["domain_names"]


def test_shares_of_each_class_are_in_percent(folder):
    axes = classes.confusion(read(folder)).axes[0]
    expected = [[75, 100 / 12, 200 / 12], [0, 100, 0], [25, 0, 75]]
    np.testing.assert_allclose(axes.images[0].get_array(), expected)
    assert [text.get_text() for text in axes.texts] == ["75", "8", "17", "100", "25", "75"]


@pytest.mark.parametrize("name", [*figures.FIGURES, *classes.FIGURES])
def test_axes_are_labelled_and_no_text_overlaps_or_leaves_the_picture(folder, name):
    run = with_names(read(folder))
    if name == "corruptions":
        run = dataclasses.replace(run, corruptions=corruptions())
    figure = {**figures.FIGURES, **classes.FIGURES}[name](run)
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
    run = read(folder)
    run.metrics[3]["loss"] = None
    del run.metrics[4]["loss"]
    values = figures.column(run, "loss")
    assert np.flatnonzero(np.isnan(values)).tolist() == [3, 4]


def test_accuracy_falls_from_clean_images_on(folder):
    run = dataclasses.replace(read(folder), corruptions=corruptions())
    panels = figures.corruptions(run).axes
    assert [panel.get_title() for panel in panels][-1] == "occlusion"
    assert len(panels) == 11
    for panel in panels:
        lines = {line.get_label(): line.get_ydata() for line in panel.lines}
        assert list(lines) == ["trained encoder", "untrained encoder", "raw pixels"]
        np.testing.assert_allclose(lines["raw pixels"], [70, 65, 60, 55, 50, 45])
