"""Matching by name, by map and by place; what is refused."""

import pytest

from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.layouts import Dimension, Layout, opaque_block
from warmstart.transfer.matching.by_name import match, numbered
from warmstart.transfer.matching.matching import is_nameless


def layout(*names, **scales):
    return Layout(tuple(Dimension(name, scale=scales.get(name, 1.0)) for name in names))


def test_exact_names_in_any_order():
    matching = match(layout("a", "b", "c"), layout("c", "x", "a"), (3, 3))
    assert matching.indices == (2, None, 0)
    assert matching.fresh == ("x",)
    assert matching.unused == ("b",)
    assert not matching.identity


def test_map_comes_before_names():
    matching = match(layout("a", "b"), layout("a", "b"), (2, 2), {"a": "b", "b": None})
    assert matching.indices == (1, None)


def test_ratio_is_target_scale_over_source_scale():
    matching = match(layout("t", t=100.0), layout("t", t=500.0), (1, 1), kind="action")
    assert matching.ratios.tolist() == [5.0]
    assert not matching.identity


def test_one_source_dimension_goes_to_one_target_dimension():
    with pytest.raises(WarmstartError, match="'a' is taken by a, b"):
        match(layout("a"), layout("a", "b"), (1, 2), {"b": "a"})


@pytest.mark.parametrize(
    ("mapping", "near"), [({"hinge.sinn": "a"}, "hinge.sin"), ({"hinge.sin": "hinge.angel"}, "hinge.angle")]
)
def test_unknown_mapped_names_list_the_nearest(mapping, near):
    with pytest.raises(WarmstartError, match=f"Did you mean '{near}'"):
        match(layout("a", "hinge.angle"), layout("a", "hinge.sin"), (2, 2), mapping)


def test_nothing_in_common_is_an_error_that_names_both_sides():
    with pytest.raises(WarmstartError, match=r"Nothing to carry.*(?s:.)*source: a, b.*(?s:.)*target: c"):
        match(layout("a", "b"), layout("c"), (2, 1))


def test_without_names_equal_lengths_match_by_place_and_say_so():
    matching = match(None, layout("a", "b"), (2, 2))
    assert matching.identity
    assert matching.by_place
    assert "Check the order" in matching.notes("observation")[0]


def test_without_names_other_lengths_name_the_options():
    with pytest.raises(WarmstartError, match=r"source_observation_names=\[\.\.\.\]"):
        match(None, layout("a", "b", "c"), (2, 3))
    with pytest.raises(WarmstartError, match=r"target_action_names=\[\.\.\.\]"):
        match(layout("a", "b"), numbered("action", 3), (2, 3), kind="action")


def test_numbers_alone_are_no_names():
    assert is_nameless(None)
    assert is_nameless(numbered("observation", 3))
    assert not is_nameless(layout("camera[0]", "camera[1]"))
    assert not is_nameless(layout("obs[0]", "slider.position"))


def test_numbered_blocks_match_only_at_equal_length():
    named = layout("arm[0]", "arm[1]", "goal[0]")
    assert match(named, layout("goal[0]", "arm[0]", "arm[1]"), (3, 3)).indices == (2, 0, 1)
    with pytest.raises(WarmstartError, match="block 'arm' has 2 dimensions in the source and 3"):
        match(named, layout("goal[0]", "arm[0]", "arm[1]", "arm[2]"), (3, 4))


def test_opaque_blocks_match_only_the_same_encoder():
    source = layout("speed") + opaque_block("features", 4, "abc")
    assert match(source, opaque_block("features", 4, "abc") + layout("speed"), (5, 5)).indices == (
        1,
        2,
        3,
        4,
        0,
    )
    other = layout("speed") + opaque_block("features", 4, "xyz")
    assert match(source, other, (5, 5)).indices == (0, None, None, None, None)
    with pytest.raises(WarmstartError, match="same encoder"):
        match(source, other, (5, 5), {"features[0]": "features[1]"})


def test_wrong_number_of_names():
    with pytest.raises(WarmstartError, match="source has 3 observation dimensions, but 2 names"):
        match(layout("a", "b"), layout("a", "b", "c"), (3, 3))


def test_units_that_change_are_said():
    source, target = Layout((Dimension("h.angle", "rad"),)), Layout((Dimension("h.sin", "1"),))
    notes = match(source, target, (1, 1), {"h.sin": "h.angle"}).notes("observation")
    assert any("h.sin [1] takes the weights of h.angle [rad]" in note for note in notes)


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (None, layout("a", "b"), "The source's observation dimensions have no names: matched one"),
        (layout("a", "b"), None, "The target's observation dimensions have no names: matched one"),
        (None, None, "The observation dimensions have no names on either side: matched one"),
    ],
)
def test_the_note_says_which_side_has_no_names(source, target, said):
    (note,) = match(source, target, (2, 2)).notes("observation")
    assert note.startswith(said)


def test_messages_count_and_agree():
    with pytest.raises(WarmstartError, match="1 action dimension and the target 3, and the source and the "):
        match(None, None, (1, 3), kind="action")
    with pytest.raises(WarmstartError, match="the source and the target have no names"):
        match(None, None, (2, 3))
    with pytest.raises(WarmstartError, match="the target has no names"):
        match(layout("a", "b"), None, (2, 3))
    with pytest.raises(WarmstartError, match="has 1 action dimension, but 2 names were given"):
        match(layout("a", "b"), None, (1, 1), kind="action")
