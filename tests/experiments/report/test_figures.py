import matplotlib as mpl
import pytest

from tests.experiments.synthetic import realistic, run
from warmstart.core.errors import WarmstartError
from warmstart.experiments.analysis.curves import RunData
from warmstart.experiments.analysis.summary import summarise
from warmstart.experiments.report.canvas import COLOURS
from warmstart.experiments.report.figures import draw_curves, draw_differences, save_figures


@pytest.fixture(scope="module")
def summary():
    return summarise(realistic(3))


def test_every_format_is_written_and_reproducible(summary, tmp_path):
    starts = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    first = save_figures(summary, tmp_path / "a", ("png", "pdf", "svg"))
    second = save_figures(summary, tmp_path / "b", ("png", "pdf", "svg"))
    assert [path.name for path in first] == [f"{n}.{f}" for n in ("curves", "differences") for f in starts]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes().startswith(starts[one.suffix[1:]])
        assert one.read_bytes() == other.read_bytes()


def test_global_settings_stay_as_they_are(summary, tmp_path):
    before, backend = dict(mpl.rcParams), mpl.get_backend()
    save_figures(summary, tmp_path, ("png",))
    assert dict(mpl.rcParams) == before
    assert mpl.get_backend() == backend


def test_curves_show_each_arm_with_its_band(summary):
    axes = draw_curves(summary).axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    for arm in summary.arms:
        assert list(lines[arm.name].get_ydata()) == list(arm.bands["iqm"].centre)
    assert len(axes.collections) == len(summary.arms)
    assert lines["scratch"].get_color() == COLOURS[0]


def test_curves_are_drawn_over_the_grid(summary):
    axes = draw_curves(summary).axes[0]
    line = next(line for line in axes.get_lines() if line.get_label() == "fine_tune")
    assert list(line.get_xdata()) == list(summary.steps)
    assert axes.get_xlabel() == "Training steps in the target"


def test_differences_carry_the_intervals_of_the_verdicts(summary):
    axes = draw_differences(summary).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [arm.name for arm in summary.compared]
    verdict = summary.compared[0].verdict
    assert list(axes.get_lines()[1].get_xdata()) == [verdict.difference.low, verdict.difference.high]


@pytest.mark.parametrize(
    "data", [RunData("empty"), run(scratch=[[0, 1]]), run(scratch=[[0, 1]], warm=[[1, 2]])]
)
def test_little_data_gives_a_figure_too(data, tmp_path):
    assert len(save_figures(summarise(data), tmp_path, ("svg",))) == 2


def test_bad_requests(summary, tmp_path):
    with pytest.raises(WarmstartError, match="png"):
        save_figures(summary, tmp_path, ("pgn",))
    (tmp_path / "file").write_text("")
    with pytest.raises(WarmstartError, match="Can't write"):
        save_figures(summary, tmp_path / "file", ("png",))


@pytest.mark.parametrize(
    "names", [("scratch", "warm"), tuple(f"a_rather_long_name_of_arm_{i}" for i in range(7))]
)
def test_nothing_is_cut_off(names):
    figure = draw_curves(summarise(run(**{name: [[0, 1, 2], [0, 2, 3]] for name in names})))
    figure.canvas.draw()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(names)
    whole, box = figure.bbox, legend.get_window_extent()
    assert whole.x0 <= box.x0 <= box.x1 <= whole.x1
    assert whole.y0 <= box.y0 <= box.y1 <= figure.axes[0].get_tightbbox().y0
    assert figure.axes[0].get_title() == ""


def test_the_tasks_are_the_title(summary):
    axes = draw_curves(summary).axes[0]
    assert axes.get_title() == "HalfCheetah-v5 → HalfCheetah-v5@gravity=x0.5"


def test_few_seeds_are_marked_whatever_the_verdict():
    few = summarise(run(scratch=[[0, 1, 2], [0, 3, 1]], warm=[[0, 2, 1], [0, 1, 2]]))
    assert [text.get_text() for text in draw_differences(few).axes[0].texts] == [
        "no difference shown (provisional)"
    ]
