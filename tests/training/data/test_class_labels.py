"""Labels as data sets store them: numbers, numbers in other types, truth values and words."""

import numpy as np
import pytest

from training.data.class_labels import ClassLabels, infer_class_names, map_positions, parse_whole_number


@pytest.mark.parametrize(
    "labels, names",
    [
        (["oak", " elm", "ash", "elm"], ("ash", "elm", "oak")),
        (["10", "9", "2"], ("2", "9", "10")),
        ([3.0, 1.0, None, float("nan")], ("1", "3")),
        ([True, False], ("false", "true")),
        ([5, 7, -1], ("5", "7")),
        (["b", "a", ""], ("a", "b")),
    ],
)
def test_classes_are_the_different_values_of_a_column(labels, names):
    assert infer_class_names(labels, "trees") == names
    parser = ClassLabels(names)
    for label in labels:
        if label in (None, "", -1) or label != label:
            with pytest.raises(ValueError, match=r"trees, row 3: the class must be .* See task\.label_column"):
                parser.get_index(label, "trees, row 3")
        else:
            assert 0 <= parser.get_index(label, "trees") < len(names)


@pytest.mark.parametrize(
    "labels, says",
    [
        (["oak", "oak"], "fewer than two different values"),
        ([0.25, 0.5], r"no classes, such as 0\.25"),
        ([[1], [2]], r"no classes, such as \[1\]"),
        (map(str, range(1_001)), "more than 1,000 different values"),
    ],
)
def test_values_that_are_no_classes_are_rejected(labels, says):
    with pytest.raises(ValueError, match=says):
        infer_class_names(labels, "trees: column 'label'")


@pytest.mark.parametrize(
    "names, label, index",
    [
        (("oak", "elm"), 1, 1),
        (("oak", "elm"), 1.0, 1),
        (("oak", "elm"), "1", 1),
        (("oak", "elm"), " Elm ", 1),
        (("oak", "elm"), True, 1),
        (("0", "1", "2"), "2", 2),
        (("0", "1", "2"), "2.0", 2),
        (("3", "7"), 7, 1),
        (("3", "7"), 3.0, 0),
        (("true", "false"), True, 0),
        (("Cat", "cat"), "cat", 1),
        (("zero", "one"), np.float64(1), 1),
    ],
)
def test_a_label_is_a_position_a_number_or_a_name(names, label, index):
    assert ClassLabels(names).get_index(label, "trees") == index


@pytest.mark.parametrize("label", [2, -1, 0.5, "birch", None, float("nan"), float("inf"), [0], "9" * 30, b"oak"])
def test_other_labels_are_rejected_with_the_classes_there_are(label):
    with pytest.raises(ValueError, match='a whole number from 0 to 1 or one of "oak", "elm", got') as caught:
        ClassLabels(("oak", "elm")).get_index(label, "trees, row 5")
    assert len(str(caught.value)) < 300
    with pytest.raises(ValueError, match='must be one of "3", "7"'):
        ClassLabels(("3", "7")).get_index(label, "trees")


def test_positions_of_a_file_with_another_order_are_translated():
    positions = map_positions(("ash", "oak"), ("oak", "elm", "ash"), "test.parquet")
    labels = ClassLabels(("oak", "elm", "ash"), positions)
    assert [labels.get_index(label, "trees") for label in (0, 1, "elm")] == [2, 0, 1]
    with pytest.raises(ValueError, match="from 0 to 2"):
        labels.get_index(2, "trees")
    assert map_positions(("oak", "elm"), ("oak", "elm", "ash"), "") is None
    with pytest.raises(ValueError, match="has classes that the train split does not have: 'birch'"):
        map_positions(("oak", "birch"), ("oak", "elm"), "trees, test,")


def test_whole_numbers_are_found_in_every_type():
    assert [parse_whole_number(value) for value in (3, 3.0, "3", " 3 ", "-3", "3.0", True)] == [3, 3, 3, 3, -3, 3, 1]
    assert [parse_whole_number(value) for value in (3.5, "x", "", None, "٣", "1e3", "3-")] == [None] * 7
