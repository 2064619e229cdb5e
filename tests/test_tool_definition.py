"""The tools as an agent's configuration wants them."""

from agi_bridge.tool_definition import tool_definitions, webhook_definitions
from agi_bridge.transfer import Transfer

LIST = [Transfer("sales", "q,600,1", 30, (), "Prices and orders."), Transfer("night", "n,s,1", 30)]


def test_agent_learns_where_it_may_send_a_caller():
    """The names stand in the description of the parameter, each with when to choose it."""
    transfer, end = tool_definitions("https://pbx.example.com/bridge", LIST)

    assert [tool["name"] for tool in (transfer, end)] == ["transfer_call", "end_call"]
    assert transfer["params"][0] == {
        "name": "target",
        "type": "string",
        "description": "Where to, one of: sales: Prices and orders.; night: no description",
        "required": True,
    }
    assert (transfer["webhook"], end["webhook"]) == (
        "https://pbx.example.com/bridge/tools/transfer",
        "https://pbx.example.com/bridge/tools/hangup",
    )
    assert {tool["header"]["Authorization"] for tool in (transfer, end)} == {"Bearer <TOKEN>"}
    assert all(tool["include_metadata"] and tool["method"] == "POST" for tool in (transfer, end))


def test_without_a_list_there_is_nothing_to_transfer_to():
    """An agent that can send nobody anywhere is not told that it could."""
    assert [tool["name"] for tool in tool_definitions("https://x", [])] == ["end_call"]


def test_agent_learns_whom_to_tell():
    """Both webhooks carry the token that the tools do."""
    webhooks = webhook_definitions("https://pbx.example.com/bridge")

    assert {name: webhook["url"] for name, webhook in webhooks.items()} == {
        "extra_prompt_webhook": "https://pbx.example.com/bridge/webhooks/prefetch",
        "session_data_webhook": "https://pbx.example.com/bridge/webhooks/end-of-call",
    }
    assert {webhook["headers"]["Authorization"] for webhook in webhooks.values()} == {"Bearer <TOKEN>"}
