"""References to repositories, names of files, licences in front matter: without a hub."""

import pytest

from warmstart.agents.checkpoints.checkpoint import TENSORS
from warmstart.agents.checkpoints.places import METADATA
from warmstart.agents.hub.fetching import pinned
from warmstart.agents.hub.reference import read_reference
from warmstart.agents.hub.taking import OURS, licence_of
from warmstart.agents.observing.base import ENCODER_FILE
from warmstart.core.errors import WarmstartError


def test_names_of_files_are_those_that_a_checkpoint_has():
    assert {METADATA, TENSORS, ENCODER_FILE} <= set(OURS)


@pytest.mark.parametrize(
    "text",
    ["hf:name", "hf:a/b/c", "hf:a/../b", "hf:a/b@", "hf:a/b@../x", "hf:a/b:best", "hf:-a/b", "hf:a--b/c"],
)
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(WarmstartError, match=r"Expected hf:OWNER/NAME or hf:OWNER/NAME@REVISION, found"):
        read_reference(text)


def test_a_reference_is_pinned_by_a_commit_alone():
    assert str(read_reference("hf:a/b@v1.0")) == "hf:a/b@v1.0"
    assert not read_reference("hf:a/b@v1.0").pinned
    assert read_reference(f"hf:a/b@{'0' * 40}").pinned
    assert pinned("runs/x") == "runs/x"


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n", "apache-2.0"),
        ("---\r\nlicense: mit\r\n---\r\ntext", "mit"),
        ("---\nlicense: unknown\n---\n", ""),
        ("---\nlicense: [mit]\n---\n", ""),
        ("---\nlicense: mit\n", ""),
        ("license: mit\n", ""),
        ("# none\n\n---\nlicense: mit\n---\n", ""),
    ],
)
def test_the_licence_is_read_of_the_front_matter(text, licence, tmp_path):
    (tmp_path / "README.md").write_text(text)
    assert licence_of(tmp_path / "README.md", "it") == licence
