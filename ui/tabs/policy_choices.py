"""Dropdown of halting policies on the Think tab."""

from typing import Any

import gradio as gr

from ui.services.inference_service import CheckpointInfo

CUSTOM_POLICY = "custom"
CUSTOM_POLICY_LABEL = "Custom rule"
CUSTOM_POLICY_INFO = "Type a rule below. No accuracy estimate available."
POLICY_SYNTAX_HELP = "Examples: energy<-3, certainty>0.9, same=3, ticks=12. Combine with | (any) or & (all)."
# Run in the browser, so that a policy takes effect even if the user runs the model before the server has answered.
JS_GET_POLICY_TEXT = f"(choice, policy) => choice === '{CUSTOM_POLICY}' ? policy : choice"
JS_GET_CLICKED_POLICY = "(value) => String(value?.policy ?? '').slice(0, 500)"


def list_policy_choices(info: CheckpointInfo) -> list[tuple[str, str]]:
    """Return label and text of every policy of a checkpoint, and the choice of a custom one."""
    policies = [(option.name, policy) for policy, option in info.policy_options.items()]
    return [*policies, (CUSTOM_POLICY_LABEL, CUSTOM_POLICY)]


def get_default_policy(info: CheckpointInfo) -> str:
    """Return the text of the policy that a checkpoint uses by default."""
    return next(iter(info.policy_options))


def get_policy_info(info: CheckpointInfo, policy: Any) -> str:
    """Return what is known of a policy.

    Args:
        info: The checkpoint.
        policy: Text of the policy, from the browser.
    """
    option = info.policy_options.get(str(policy))
    return option.description if option else CUSTOM_POLICY_INFO


def build_policy_update(info: CheckpointInfo) -> gr.Dropdown:
    """Return the choices of another checkpoint, with its default policy."""
    default = get_default_policy(info)
    return gr.Dropdown(list_policy_choices(info), value=default, info=get_policy_info(info, default))


def select_policy(info: CheckpointInfo, policy: str) -> gr.Dropdown:
    """Return the choice that belongs to the text of a policy, with its evidence: typed, pasted or clicked.

    Args:
        info: The checkpoint.
        policy: Text of the policy, from the browser.
    """
    choice = policy if policy in info.policy_options else CUSTOM_POLICY
    return gr.Dropdown(list_policy_choices(info), value=choice, info=get_policy_info(info, policy))
