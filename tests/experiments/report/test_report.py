import dataclasses
from html.parser import HTMLParser

import pytest

from tests.experiments.synthetic import curve, realistic, run
from warmstart.core.errors import WarmstartError
from warmstart.experiments.analysis.curves import Failure, RunData
from warmstart.experiments.analysis.metric_kinds import METRICS
from warmstart.experiments.analysis.statistics import Interval
from warmstart.experiments.analysis.summary import summarise
from warmstart.experiments.report.formatting import bounds, duration, number, shape
from warmstart.experiments.report.report import chart_data, render_report, write_report


class Page(HTMLParser):
    """Elements, their attributes and the text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._silent = 0
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._silent += tag in ("script", "style")

    def handle_endtag(self, tag):
        self._silent -= tag in ("script", "style")

    def handle_data(self, data):
        if not self._silent:
            self.words.append(data)


def page(data: RunData) -> Page:
    return Page(render_report(data, summarise(data)))


@pytest.fixture(scope="module")
def study_page() -> Page:
    return page(realistic(3))


def test_the_page_asks_for_nothing(study_page):
    for tag, attributes in study_page.elements:
        assert "src" not in attributes, (tag, attributes)
        href = attributes.get("href")
        assert href is None or href.startswith("#") or href == "data:,", (tag, attributes)
    policy = next(a for t, a in study_page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert str(policy["content"]).startswith("default-src 'none'")
    assert sum(tag == "script" for tag, _ in study_page.elements) == 3  # data, plotly, ours


def test_the_verdict_comes_first_in_plain_words(study_page):
    text = study_page.text
    assert "fine_tune helps : reaches scratch's final return after 10% of its steps." in text
    assert "provisional" in text
    assert text.index("Does the warm start help?") < text.index("Convergence") < text.index("Area under the")


def test_every_section_is_there(study_page):
    text = study_page.text
    for kind in METRICS.values():
        assert kind.label in text
        assert kind.explanation in text
    for words in (
        "HalfCheetah-v5@gravity=x0.5",
        "mlp_extractor.policy_net.0.weight",
        "64×17",
        "The critic was fitted over 16,384 steps",
        "last layer: starts fresh",
        "warmstart compare study.yaml",
        "target_steps: 250000",
        "3.17.0",
        "Kaplan–Meier",
        "Probability of improvement",
        "RuntimeError: size <b>mismatch</b>",
        "Traceback …",
    ):
        assert words in text, words


def test_numbers_of_the_page_are_those_of_the_summary(study_page):
    summary = summarise(realistic(3))
    for arm in summary.compared:
        assert arm.verdict is not None
        assert number(arm.verdict.difference.estimate, "normalised", sign=True) in study_page.text
        assert number(arm.metrics["jumpstart"].interval.estimate, sign=True) in study_page.text


def test_controls_and_charts_are_labelled(study_page):
    ids = [a["id"] for _, a in study_page.elements if a.get("id")]
    assert len(ids) == len(set(ids))
    for tag, attributes in study_page.elements:
        if attributes.get("role") in ("img", "region"):
            assert attributes.get("aria-label"), (tag, attributes)
    assert [a["data-arm"] for _, a in study_page.elements if "data-arm" in a] == [
        arm.name for arm in summarise(realistic(3)).arms
    ]


def test_hostile_text_stays_text():
    evil = "</script><img src=x onerror=alert(1)><!--"
    data = RunData(
        name=evil,
        study={
            "name": evil,
            "source": evil,
            "target": evil,
            "target_steps": 10,
            "arms": [],
            "algorithm": evil,
        },
        curves=(curve("scratch", 0, [0, 1]), curve(evil, 0, [1, 2])),
        source_curves=(curve("source", 0, [0, 1]),),
        transfers={evil: {"method": evil, "entries": [{"name": evil, "reason": evil}], "notes": [evil]}},
        failures=(Failure(evil, 1, evil, evil),),
        versions={evil: evil},
        notes=(evil,),
    )
    html = render_report(data, summarise(data))
    assert "<img" not in html.replace("<image", "").split("report-data")[0]
    parsed = Page(html)
    assert not [tag for tag, _ in parsed.elements if tag == "img"]
    assert evil in parsed.text
    assert sum(tag == "script" for tag, _ in parsed.elements) == 3


@pytest.mark.parametrize(
    "data",
    [
        RunData("empty"),
        RunData("failed", failures=(Failure("scratch", 0, "boom"),)),
        run(scratch=[[0, 1, 2]]),
        run(a=[[0, 1, 2]], b=[[0, 1, 2]]),
        dataclasses.replace(realistic(1), study={}, transfers={}, versions={}, random_return=None),
        RunData("half", curves=(curve("scratch", 0, [0, 1, 2], complete=False),)),
    ],
    ids=["empty", "failed", "cold-only", "no-cold", "foreign", "unfinished"],
)
def test_whatever_is_missing_there_is_a_report(data):
    assert "Does the warm start help?" in page(data).text


def test_chart_data_holds_what_is_drawn():
    summary = summarise(realistic(3))
    data = chart_data(summary)
    assert data["time"] == {"unit": "s", "scale": 1}
    arm = data["arms"][1]
    assert arm["name"] == "fine_tune"
    assert arm["bands"]["iqm"]["centre"] == list(summary.arm("fine_tune").bands["iqm"].centre)
    assert len(arm["curves"]) == 3
    assert data["threshold"] == summary.threshold


def test_long_runs_are_shown_in_hours():
    data = run(scratch=[[0, 1, 2]])
    slow = dataclasses.replace(data, curves=(curve("scratch", 0, [0, 1, 2], seconds=[0, 9_000, 18_000]),))
    assert chart_data(summarise(slow))["time"] == {"unit": "h", "scale": 3600}


def test_write_report(tmp_path):
    data = realistic(1)
    path = write_report(data, summarise(data), tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [item.name for item in path.parent.iterdir()] == ["report.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(WarmstartError, match="Can't write"):
        write_report(data, summarise(data), tmp_path / "file" / "report.html")


@pytest.mark.parametrize(
    ("value", "unit", "sign", "text"),
    [
        (1312.4, "return", False, "1,312"),
        (-0.004, "return", True, "0.00"),
        (12.34, "return", True, "+12.3"),
        (-0.314, "normalised", True, "−0.31"),
        (187_512.0, "steps", True, "+187,500"),
        (0.0, "steps", False, "0"),
        (0.004, "ratio", False, "0.4%"),
        (1.4, "ratio", True, "+140%"),
        (0.56, "probability", False, "56%"),
        (0.4, "s", False, "0.4 s"),
        (52.0, "s", False, "52 s"),
        (186.0, "s", False, "3.1 min"),
        (8640.0, "s", False, "2.4 h"),
        (float("nan"), "return", False, "—"),
    ],
)
def test_numbers(value, unit, sign, text):
    assert number(value, unit, sign=sign) == text


def test_bounds_and_shapes():
    assert bounds(Interval(0.3, -0.02, 0.71), "normalised", sign=True) == "−0.02 to +0.71"
    assert bounds(Interval(0.3)) == ""
    assert duration(0) == "0 s"
    assert (shape([64, 17]), shape(()), shape(None)) == ("64×17", "scalar", "—")


def test_too_few_seeds_are_called_provisional_whatever_the_verdict():
    data = run(scratch=[[0, 1, 2], [0, 3, 1]], warm=[[0, 2, 1], [0, 1, 2]])
    text = page(data).text
    assert "warm: no difference shown : the area" in text
    assert "no difference shown provisional 2 pairs of seeds" in text
    many = run(scratch=[[0, i % 3, 2] for i in range(8)], warm=[[0, (i + 1) % 3, 2] for i in range(8)])
    assert "no difference shown provisional" not in page(many).text


def test_without_a_threshold_there_are_no_times():
    data = realistic(2)
    text = Page(render_report(data, summarise(data, threshold=float("nan")))).text
    assert "Kaplan" not in text
    assert "Solved" not in text
