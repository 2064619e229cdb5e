"""What an agent's configuration at Millis needs to ask and to tell the bridge: tools made of the [[transfer]] list, webhooks. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agi_bridge.transfer import Transfer

# The token is not ours to know: the configuration has its hash.
TOKEN_PLACEHOLDER = "<TOKEN>"  # noqa: S105 - no password

# An agent waits for its tool; the PBX needs milliseconds, and five seconds where it is being connected anew.
_TIMEOUT_SECONDS = 8


def tool_definitions(public_url: str, transfers: Sequence[Transfer]) -> list[dict[str, Any]]:
    """Return the tools of an agent whose calls come through this bridge; without a list there is nowhere to send a caller."""
    tools = [_tool("end_call", "End the call, once everything is said.", f"{public_url}/tools/hangup", [])]
    if transfers:
        places = "; ".join(f"{each.name}: {each.description or 'no description'}" for each in transfers)
        target = {
            "name": "target",
            "type": "string",
            "description": f"Where to, one of: {places}",
            "required": True,
        }
        reason = {
            "name": "reason",
            "type": "string",
            "description": "Why, in at most six words; whoever answers reads it on the phone.",
            "required": False,
        }
        summary = {
            "name": "summary",
            "type": "string",
            "description": "What the caller has said so far, in a sentence.",
            "required": False,
        }
        tools.insert(
            0,
            _tool(
                "transfer_call",
                "Connect the caller with a person. Say first that you will.",
                f"{public_url}/tools/transfer",
                [target, reason, summary],
            ),
        )
    return tools


def webhook_definitions(public_url: str) -> dict[str, Any]:
    """Return the keys of an agent's configuration by which Millis tells us when a call begins and when it is over."""
    headers = {"Authorization": f"Bearer {TOKEN_PLACEHOLDER}"}
    return {
        "extra_prompt_webhook": {"url": f"{public_url}/webhooks/prefetch", "headers": headers},
        "session_data_webhook": {"url": f"{public_url}/webhooks/end-of-call", "headers": headers},
    }


def _tool(name: str, description: str, webhook: str, params: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "description": description,
        "params": params,
        "webhook": webhook,
        "header": {"Authorization": f"Bearer {TOKEN_PLACEHOLDER}"},
        "method": "POST",
        "timeout": _TIMEOUT_SECONDS,
        "include_metadata": True,
    }
