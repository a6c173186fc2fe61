"""Answers to requests of the views on the Think tab that JavaScript draws: the inside view and the comparison."""

from typing import Any

from ui.services.inference_service import InferenceService


class ViewRequests:
    """Handlers of the events with which these views ask the server.

    Args:
        inference_service: Runs the models.
    """

    def __init__(self, inference_service: InferenceService) -> None:
        self.inference_service = inference_service

    def answer_inside(self, message: Any) -> dict[str, Any]:
        """Answer a request of the inside view about a prediction of the server, see `inside/sources.js`."""
        values = message if isinstance(message, dict) else {}
        try:
            answer = self.inference_service.inside.answer(values.get("record"), values.get("request"))
        except ValueError as error:
            return {"serial": values.get("serial"), "problem": str(error)}
        return {"serial": values.get("serial"), "answer": answer}

    def build_comparison(self, name: str) -> dict[str, Any]:
        """Return the value of the comparison for a checkpoint that is selected."""
        return {"selected": name, "choices": self.inference_service.comparisons.list_choices(name)}

    def answer_comparison(self, message: Any) -> dict[str, Any]:
        """Answer a request of the comparison, see `compare/runner.js`: manifests of checkpoints, or rows."""
        values = message if isinstance(message, dict) else {}
        name, comparisons = str(values.get("checkpoint")), self.inference_service.comparisons
        answer = {"serial": values.get("serial")}
        if "manifests" in values:
            return answer | {"manifests": comparisons.get_manifests(name, values["manifests"])}
        return answer | {"rows": comparisons.run(name, values.get("input"), values.get("choices"))}
