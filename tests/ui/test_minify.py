"""Test that comments are removed from modules, and nothing else."""

import pytest

from ui.minify import strip_comments


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("// a\nb();\n  // c\n", "\nb();\n\n"),
        ("/** a */\nb();", "\nb();"),
        ("/**\n * a\n */\nb();", "\n\n\nb();"),
        ("b(); // stays", "b(); // stays"),
        ("/* a */ b();", "/* a */ b();"),
        ("x = a /\n  2;", "x = a /\n  2;"),
        ("const s = `\n// text\n/* text\n`;\n// comment", "const s = `\n// text\n/* text\n`;\n"),
        ("const s = `a ${b}`;\n// comment", "const s = `a ${b}`;\n"),
        ('const url = "https://a";', 'const url = "https://a";'),
        ("", ""),
    ],
)
def test_comments_on_lines_of_their_own_are_removed(source, expected):
    assert strip_comments(source) == expected
