"""Tests with generated texts that a reference is either valid and prints as it parses, or is rejected."""

from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ctm.stores import HubRef, HubStore
from tests.strategies import HOSTILE_TEXTS, texts, time_limit, try_read

COMMIT = "0123456789abcdef0123456789abcdef01234567"

PREFIXES = ("", "hub:", "hf://", "https://huggingface.co/", "http://hf.co/", " ")
ODD_PARTS = (
    "..",
    ".",
    "",
    "~",
    "a b",
    "\u00e9",
    "a\nb",
    "%2e%2e",
    "\\",
    "hub:",
    "github:x",
    "--",
    "x.git",
    "\u2215",
    "\x00",
    "\ud800",
    "@",
    ":",
)
LONG_TEXTS = [piece * 200_000 for piece in ("a", "/", "a/", "@", ":", "hub:", "a/b@", "https://hf.co/", " ")]

letters = st.text("abAZ09._-", min_size=1, max_size=12)
parts = letters | st.sampled_from(ODD_PARTS) | texts
repos = st.builds("{}/{}".format, parts, parts)
revisions = st.just("") | st.builds("@{}".format, parts | st.just(COMMIT))
subfolders = st.just("") | st.builds(":{}".format, st.lists(parts, max_size=3).map("/".join))
pages = st.sampled_from(["tree", "commit", "blob", ".."])
name_texts = st.one_of(
    st.builds("{}{}{}{}".format, st.sampled_from(PREFIXES), repos, revisions, subfolders),
    st.builds("https://huggingface.co/{}/{}/{}".format, repos, pages, parts),
    st.text("ab/@:. -", max_size=20),
    texts,
)
words = st.text("ABCxyz019", min_size=1, max_size=9)


@given(name_texts)
@example("me/github:models")
@example("me/hub:x")
@example("alice/x:a /")
@example("alice/x:a/ /b")
@example("alice/x:" + "\u00e9" * 200)
@example("alice/x@" + "\u00e9" * 128)
@example("\U000e0001" * 200)
@example("alice/x\n")
@example("alice/x@v1\n:a")
def test_any_text_is_a_safe_reference_or_rejected_in_one_sentence(text):
    ref = try_read(lambda: HubRef.parse(text))
    if ref is None:
        return
    assert HubRef.parse(str(ref)) == ref and str(ref).isprintable()
    assert ref.repo in text, "the repository is part of the text"
    assert ref.repo.count("/") == 1 and not {"", ".", ".."} & set(ref.repo.split("/"))
    for path in (ref.repo, ref.revision or "main", ref.get_path_in_repo("config.json")):
        pure = PurePosixPath(path)
        assert not pure.is_absolute() and ".." not in pure.parts and "\\" not in path and str(pure) == path
    assert ref.subfolder in text and (ref.revision or "") in text


@given(text=name_texts)
@example(text="alice/x:" + "\u00e9" * 200)
@example(text="alice/x:" + "a" * 200)
@example(text="alice/x@" + "\u00e9" * 128)
@example(text=f"alice/x@{COMMIT}:" + "\U00020000" * 100)
def test_any_reference_is_looked_up_in_the_cache_only(text, tmp_path_factory):
    ref = try_read(lambda: HubRef.parse(text))
    if ref is not None:
        store = HubStore(cache_dir=tmp_path_factory.getbasetemp())
        if ref.repo == "alice/x":  # a cached repository
            store._get_snapshot_dir(HubRef("alice/x", COMMIT)).mkdir(parents=True, exist_ok=True)
            store._get_ref_path(HubRef("alice/x")).parent.mkdir(parents=True, exist_ok=True)
        assert try_read(lambda: store.find_cached_dir(ref)) is None
        for path in (store._get_snapshot_dir(ref), store._get_ref_path(ref)):
            assert path.resolve().is_relative_to(store.cache_dir.resolve())


@given(words, words, st.sampled_from(PREFIXES))
def test_valid_references_are_parsed(namespace, name, prefix):
    assert HubRef.parse(f"{prefix}{namespace}/{name}@v1:a/b") == HubRef(f"{namespace}/{name}", "v1", "a/b")
    for word in ("github", "tophub", "hf", "http"):
        assert HubRef.parse(f"{prefix}{namespace}/{word}:models") == HubRef(f"{namespace}/{word}", None, "models")
        assert HubRef.parse(f"{prefix}{word}/{name}:hub") == HubRef(f"{word}/{name}", None, "hub")


@pytest.mark.parametrize("text", [*HOSTILE_TEXTS, *LONG_TEXTS], ids=lambda text: repr(text)[:20])
def test_hostile_texts_are_rejected_at_once(text):
    with time_limit(1):
        for form in ("{}", "alice/{}", "{}/x", "alice/x@{}", "alice/x:{}", "https://huggingface.co/alice/x/tree/{}"):
            try_read(lambda form=form: HubRef.parse(form.format(text)))
