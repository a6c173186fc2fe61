"""Images that are left out because they cannot be read."""

import pytest

from training.data.unreadable_images import UnreadableImages


def test_a_small_share_is_left_out_and_named_in_the_log(caplog):
    unreadable = UnreadableImages("trees", 0.01)
    for _ in range(398):
        unreadable.add_readable()
    unreadable.log()
    assert not caplog.records
    for row in (7, 8):
        unreadable.add(f"train, row {row}", ValueError("There is no picture."))
    unreadable.check()
    unreadable.log()
    assert caplog.messages == [
        "trees: 2 of 400 pictures cannot be read and are left out. train, row 7: There is no picture. "
        "train, row 8: There is no picture."
    ]


def test_a_larger_share_is_rejected_with_the_first_reasons():
    unreadable = UnreadableImages("trees", 0.01)
    for row in range(5):
        unreadable.add(f"train, row {row}", ValueError("The file is empty."))
    unreadable.check(num_images=500)
    with pytest.raises(
        ValueError,
        match=r"5 of the first 5 pictures .* task\.max_unreadable_rate allows 0\.01: repair them, or raise it\. train, row 0: The",
    ) as caught:
        unreadable.check(num_images=499)
    assert "row 3" not in str(caught.value)
    with pytest.raises(ValueError, match="1 of the first 1"):
        one_unreadable().check()


def one_unreadable() -> UnreadableImages:
    unreadable = UnreadableImages("a", 0.0)
    unreadable.add("row 0", ValueError("x"))
    return unreadable
