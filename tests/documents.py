"""Documents of the project as tests read them: code blocks, commands, links, names of files, and words.

A command counts as correct if the parser of its program accepts it. Recipes and their overrides are validated as well.
"""

import argparse
import contextlib
import functools
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import click
from accelerate.commands.launch import launch_command_parser
from huggingface_hub.cli.hf import app as hf
from torch.distributed.run import get_args_parser

from tests.paths import ROOT
from training.cli.parser import build_parser
from training.config import read_recipe

GUIDE = "GUIDE_HF.md"
DOCUMENT_PATHS = [
    *(ROOT / name for name in ("README.md", GUIDE, "CHANGELOG.md", "data/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
DOCUMENTS = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in DOCUMENT_PATHS}
SOURCE_SUFFIXES = {".py", ".js", ".mjs", ".html", ".css", ".yaml", ".json", ".toml", ".txt"}
SOURCE_DIRS = ("ctm", "inference", "training", "ui", "benchmarks", "configs", "tests")
FILE_NAME_PATTERN = re.compile(r"[\w-]+\.(?:py|md|yaml|json|jsonl|txt|pt|safetensors|parquet|js|html|png)")
UNPARSED_PROGRAMS = {"pip", "docker", "read", "export", "curl", "openssl"}  # their parsers are not written in Python
RUN_DIRS = {"runs"}  # exists only where the app was started
READER_FILES = {"configs/majority.yaml", "training/tasks/majority.py"}  # a reader of the guide creates them
# Names of other libraries, which the source does not contain.
EXTERNAL_NAMES = {
    "gradio_client",
    "AppError",
    "EncoderDecoderCache",
    "CrossEntropyLoss",
    "finish_reason",
    "ImageEditor",
}

# Words that the project does not use, and their replacements. Code, quotations of the page and addresses are not checked.
RETIRED_WORDS = {
    "thinker": "model",
    "machine": "model, or computer, or host",
    "seat": "slot",
    "scene": "encoded input",
    "newcomer": "new row",
    "welcome": "admit",
    "leave": "be removed, halt",
    "together": "in one batch",
    "company": "batch",
    "silence": "blank",
    "said": "emitted",
    "told": "",
    "felt": "",
    "rule": "halting policy",
    "promise": "guarantee",
    "family": "Pareto frontier",
    "folder": "directory",
    "book": "job store",
    "shepherd": "supervisor",
    "courier": "upload worker",
    "away": "remote",
    "dressed": "",
    "offer": "list, provide",
    "gate": "authenticator",
    "person": "user",
    "refused": "rejected",
    "guard": "middleware",
    "pad": "editor",
    "giving": "input",
    "race": "comparison",
    "rival": "",
    "lane": "row",
    "whoever": "the user who",
    "amiss": "wrong",
}
ALLOWED_CONTEXTS = (
    r"Continuous Thought Machines?",  # the name of the model
    r"said=\d+",  # a halting policy as text
)


def find_code_blocks(text: str, language: str) -> list[str]:
    """Return the fenced code blocks of a language."""
    return [
        code for name, code in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE) if name == language
    ]


def remove_code_blocks(text: str) -> str:
    """Return a document without its fenced code blocks."""
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def find_inline_code(text: str) -> list[str]:
    """Return the code spans of the prose, in tables as well."""
    return [span.replace(r"\|", "|") for span in re.findall(r"`([^`\n]+)`", remove_code_blocks(text))]


def find_quotations(text: str) -> list[str]:
    """Return the texts in italics, which quote the page, the log or the Hub."""
    prose = re.sub(r"`[^`\n]+`", "", remove_code_blocks(text))
    return sorted(set(re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", prose)))


def parse_tables(text: str) -> Iterator[list[list[str]]]:
    """Yield every table of a document as rows of cells; the first row is the header."""
    for table in re.findall(r"(?:^\|.*\|\n)+", remove_code_blocks(text), re.MULTILINE):
        lines = table.replace(r"\|", "\0").splitlines()
        yield [
            [cell.strip().replace("\0", "|") for cell in line.strip("|").split("|")]
            for line in lines
            if not re.fullmatch(r"\|[-|]+\|", line)
        ]


def find_table(text: str, *header: str) -> list[list[str]]:
    """Return the rows of the table whose header begins with these cells, without the header."""
    return next(rows[1:] for rows in parse_tables(text) if rows[0][: len(header)] == list(header))


# --- commands ------------------------------------------------------------------------------------------------------


def list_commands(text: str) -> list[list[str]]:
    """Return every command of the shell blocks and of the prose, as words."""
    lines = [line for block in find_code_blocks(text, "bash") for line in block.replace("\\\n", " ").splitlines()]
    lines = [line for line in lines if line.strip() and not line.startswith("#") and "$(curl" not in line]
    lines += [span for span in find_inline_code(text) if re.match(r"(?:hf|make|python -m|accelerate) [^ ]", span)]
    commands = (shlex.split(part, comments=True) for line in lines for part in line.split(" && "))
    return [words for words in map(remove_assignments, commands) if words]


def remove_assignments(words: list[str]) -> list[str]:
    """Return a command without the variables that are set before it."""
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def check_command(words: list[str]) -> None:
    """Check that a program accepts a command; a failed check raises `AssertionError` or `SystemExit`."""
    match words:
        case ["hf", *_]:
            check_hf_command(words)
        case ["make", *targets]:
            check_make_command(targets)
        case ["accelerate", "config"] | ["accelerate", "launch", "--multi_gpu"]:  # mentions without arguments
            pass
        case ["accelerate", "launch", *rest]:
            check_launched_program(launch_command_parser(), rest)
        case ["python", "-m", "torch.distributed.run", *rest]:
            check_launched_program(get_args_parser(), rest)
        case ["python", "-m", "training", name]:  # a mention without arguments
            assert name in list_training_commands(), f"python -m training has no command {name}"
        case ["python", "-m", "training", *rest]:
            check_training_command(rest)
        case ["python", "-m", module]:
            find_module(module)
        case ["python", "-m", module, *rest]:
            check_module_command(module, rest)
        case ["python", script, *_]:
            assert (ROOT / script).is_file(), f"there is no {script}"
        case [program, *_]:
            assert program in UNPARSED_PROGRAMS, f"the program {program} is not known to the tests of the documents"


def list_training_commands() -> set[str]:
    """Return the names of all commands of `python -m training`, without aliases."""
    subparsers = next(action for action in build_parser()._actions if action.choices and not action.option_strings)
    return {parser.prog.split()[-1] for parser in subparsers.choices.values()}


def check_hf_command(words: list[str]) -> None:
    """Check a command of the Hub client: its parser knows the command, its options and the number of arguments."""
    command: Any = hf
    context, rest = click.Context(hf), words[1:]
    while isinstance(command, click.Group):
        name, *rest = rest or [""]
        if not name:
            return
        command = command.get_command(context, name)
        assert command, f"hf has no command {name}"
        command = command.materialize() if hasattr(command, "materialize") else command  # commands load lazily
    if rest or len(words) > 3:
        command.make_context(" ".join(words), list(rest))


def check_make_command(targets: list[str]) -> None:
    """Check that the Makefile has and describes the targets, and knows the variables."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in targets:
        name, equals, _ = target.partition("=")
        pattern = rf"^{name} \?=" if equals else rf"^(?:[a-z-]+ )*{name}(?: [a-z-]+)*:.*##"
        assert re.search(pattern, makefile, re.MULTILINE), f"the Makefile has no {name}"


def check_launched_program(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Check the options of a launcher, and the program that it launches."""
    args = parser.parse_args(words)
    if args.module:
        check_command(["python", "-m", args.training_script, *args.training_script_args])


def check_training_command(words: list[str]) -> None:
    """Check a command of `python -m training`: its options, and the recipe with the overrides."""
    args, rest = build_parser().parse_known_args(words)
    assert all("=" in word for word in rest), f"not understood: {rest}"
    recipe = getattr(args, "recipe", None)
    if recipe is None or str(recipe) in READER_FILES or str(recipe).isupper():
        return
    assert (ROOT / recipe).is_file(), f"there is no recipe {recipe}"
    read_recipe(ROOT / recipe, [*args.overrides, *rest])


class ArgumentsAccepted(Exception):
    """The parser of a program has accepted its arguments."""


def check_module_command(module: str, words: list[str]) -> None:
    """Check the arguments of a program: run its `main` up to the end of the parsing."""
    parse_args = argparse.ArgumentParser.parse_args

    def parse_and_stop(self: argparse.ArgumentParser, *args: object, **kwargs: object) -> None:
        parse_args(self, *args, **kwargs)
        raise ArgumentsAccepted

    path = find_module(module)
    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", parse_and_stop),
        mock.patch("sys.argv", [module, *words]),
        contextlib.suppress(ArgumentsAccepted),
    ):
        runpy.run_path(str(path), run_name="__main__")
        raise AssertionError(f"{module} parsed no arguments")


def find_module(module: str) -> Path:
    """Return the file that `python -m MODULE` executes."""
    path = ROOT / module.replace(".", "/")
    files = [file for file in (path.with_suffix(".py"), path / "__main__.py") if file.is_file()]
    assert files, f"there is no module {module}"
    return files[0]


# --- links and names -----------------------------------------------------------------------------------------------


def find_links(text: str) -> list[str]:
    """Return the targets of all links and images, without those on other hosts."""
    targets = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", remove_code_blocks(text))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def find_anchors(text: str) -> set[str]:
    """Return the anchors of all headings, as GitHub and the Hub build them."""
    headings = re.findall(r"^#+ (.+)$", remove_code_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def find_broken_links(document: str, text: str) -> list[str]:
    """Return the links of a document whose file or anchor does not exist."""
    broken = []
    for target in find_links(text):
        path, _, anchor = target.partition("#")
        file = (ROOT / document).parent / path if path else ROOT / document
        if not file.exists() or (anchor and anchor not in find_anchors(file.read_text("utf-8"))):
            broken.append(target)
    return broken


def list_source_paths() -> list[Path]:
    """Return the source files of the project."""
    found = (path for name in SOURCE_DIRS for path in (ROOT / name).rglob("*"))
    files = [ROOT / name for name in ("app.py", "Dockerfile", "Makefile", "pyproject.toml", "requirements.txt")]
    return [*files, *(path for path in found if path.suffix in SOURCE_SUFFIXES and "golden" not in path.parts)]


@functools.cache
def read_sources() -> str:
    """Return the source of the project without its tests, with strings joined that span lines."""
    paths = (path for path in list_source_paths() if path.relative_to(ROOT).parts[0] != "tests")
    text = "\n".join(path.read_text("utf-8") for path in paths if path.stat().st_size < 2**20)
    return re.sub(r'"\s*\n\s*f?"', "", text)


@functools.cache
def list_file_names() -> frozenset[str]:
    """Return the names of all files of the project, without directories."""
    found = (path for name in (*SOURCE_DIRS, "docs", "checkpoints", "data") for path in (ROOT / name).rglob("*"))
    return frozenset({path.name for path in (*ROOT.iterdir(), *found)})


def find_missing_paths(document: str, text: str) -> list[str]:
    """Return the code spans that look like a path of the project, and are none.

    A path begins with an existing directory or file of the root, or of the directory of the document. A name without a
    directory has to exist somewhere in the project, or in its source, as the names of files in a run directory do. `*`
    stands for any part.
    """
    missing = []
    for span in find_inline_code(text):
        if re.fullmatch(r"[\w.*-]+(?:/[\w.*-]+)*/?", span) and "/" in span:
            top = span.partition("/")[0]
            is_ours = (ROOT / top).exists() and top not in RUN_DIRS and span not in READER_FILES
            if (
                is_ours
                and not any(ROOT.glob(span.rstrip("/")))
                and not any((ROOT / document).parent.glob(span.rstrip("/")))
            ):
                missing.append(span)
        elif FILE_NAME_PATTERN.fullmatch(span) and span not in list_file_names() and span not in read_sources():
            missing.append(span)
    return missing


def find_unknown_names(text: str) -> list[str]:
    """Return the code spans that look like a name in the source and do not occur there.

    Checked are classes (`RunDir`), functions and settings (`parse_input`, `train.steps`), attributes (`Engine.run`) and
    constants (`STOP_TIMEOUT_S`).
    """
    unknown = []
    for span in find_inline_code(text):
        name = span.partition("(")[0].partition("=")[0]
        is_file_name = FILE_NAME_PATTERN.fullmatch(name) is not None
        if is_file_name or not re.fullmatch(r"[A-Za-z_][\w.]*\w", name) or not is_compound_name(name):
            continue
        if name.endswith("_") or name in EXTERNAL_NAMES:
            continue
        parts = [part for part in name.split(".") if part]
        if not all(re.search(rf"\b{part}\b", read_sources()) for part in parts):
            unknown.append(span)
    return unknown


def is_compound_name(name: str) -> bool:
    """Return whether a word has an underscore, a dot, or a capital inside, so that it is no word of English."""
    return "_" in name or "." in name or re.search(r"[a-z][A-Z]", name) is not None


def find_retired_words(text: str) -> list[str]:
    """Return the retired words of a document, each with its replacement and the words around it."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)  # front matter of the Hub
    prose = re.sub(r"<!--.*?-->|`[^`\n]*`|\]\([^)]*\)|https?://\S+", " ", remove_code_blocks(text))
    prose = re.sub(r"(?<!\*)\*[^*\n]+\*(?!\*)", " ", prose)  # quotations of the page
    for context in ALLOWED_CONTEXTS:
        prose = re.sub(context, " ", prose)
    pattern = re.compile(rf"\b({'|'.join(RETIRED_WORDS)})s?\b", re.IGNORECASE)
    return [
        f"{match[0]!r} (use: {RETIRED_WORDS[match[1].lower()] or 'another word'}) in "
        f"{' '.join(prose[max(0, match.start() - 40) : match.end() + 40].split())!r}"
        for match in pattern.finditer(prose)
    ]
