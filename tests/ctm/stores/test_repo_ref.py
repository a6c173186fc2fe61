"""Tests of references to checkpoints on the Hub."""

import pytest

from ctm.stores import HubRef

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "repo", "revision", "subfolder"),
    [
        ("SakanaAI/ctm-imagenet", "SakanaAI/ctm-imagenet", None, ""),
        (" alice/a.b_c-d\n", "alice/a.b_c-d", None, ""),
        ("alice/x@v1.0", "alice/x", "v1.0", ""),
        ("alice/x@refs/pr/1", "alice/x", "refs/pr/1", ""),
        (f"alice/x@{COMMIT}:runs/best", "alice/x", COMMIT, "runs/best"),
        ("alice/x:digits/", "alice/x", None, "digits"),
        ("hub:alice/x@main", "alice/x", "main", ""),
        ("https://huggingface.co/alice/x", "alice/x", None, ""),
        ("https://huggingface.co/alice/x/", "alice/x", None, ""),
        ("https://huggingface.co/alice/x/tree/dev", "alice/x", "dev", ""),
        ("https://hf.co/alice/x", "alice/x", None, ""),
    ],
)
def test_a_reference_is_parsed(text, repo, revision, subfolder):
    assert HubRef.parse(text) == HubRef(repo, revision, subfolder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "alice/",
        "/x",
        "alice/x/y",
        "../x",
        "alice/..",
        "alice/x@",
        "alice/x:",
        "alice/x:../y",
        "alice/x:a/../b",
        "alice/x@../..",
        "alice/x:/etc",
        "alice--bob/x",
        "alice/x--y",
        "alice/x.git",
        "alice/x y",
        "a" * 200,
        "alice/x@a b",
        "alice/x:a//b",
        "alice/x:./a",
        "datasets/alice/x",
        "<script>/x",
        "alice/x@/etc/passwd",
        "alice/x@a/./b",
        "alice/x@.",
        "alice/x@-x",
        "alice/x@-\x00",
    ],
)
def test_an_invalid_reference_is_rejected_in_one_sentence(text):
    with pytest.raises(ValueError) as exc_info:
        HubRef.parse(text)
    assert "\n" not in str(exc_info.value) and str(exc_info.value).endswith(".")


@pytest.mark.parametrize("text", ["alice/x", "alice/x@v1", f"alice/x@{COMMIT}", "alice/x:a/b", f"alice/x@{COMMIT}:a"])
def test_printing_and_parsing_are_inverse(text):
    assert str(HubRef.parse(text)) == text


def test_only_a_full_commit_hash_pins():
    assert HubRef.parse(f"alice/x@{COMMIT}").is_pinned
    assert not HubRef.parse(f"alice/x@{COMMIT[:-1]}").is_pinned
    assert not HubRef.parse("alice/x@main").is_pinned and not HubRef.parse("alice/x").is_pinned
