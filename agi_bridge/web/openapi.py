"""The description of the HTTP API that is served with it, OpenAPI 3.1; the tests hold the API to it. Pure."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from agi_bridge.call import CallRecord, Reason, Result

_TEXT = {"type": "string", "maxLength": 1000}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}
_ERRORS = {
    "400": "The body or the query is not what it should be.",
    "401": "No token, or a wrong one.",
    "403": "The token is not for this.",
    "413": "The body is too large.",
    "429": "Too many requests.",
    "500": "The bridge has failed; its log says more.",
}
_OF_CALL = {
    "403": "The token is not for this, or no PBX is configured through which it could be done.",
    "404": "No call of that id is up.",
    "409": "The call is over, or its caller is on the way elsewhere.",
    "422": "Refused: a destination that is not on the list.",
    "502": "The PBX did not do it, or it is not known whether it did.",
    "503": "Another process took the call, and the records that say which PBX it is in cannot be read.",
}
_OF_NEW_CALL = {
    "403": "The token is not for this, or the bridge calls nobody.",
    "422": "No such rule, an agent that the rule does not allow, or a number that may not be called.",
    "429": "Too many requests, or too many calls in this minute or on this day.",
    "502": "The PBX did not do it, or it is not known whether it did.",
    "503": "Calls cannot be counted now, so none is started.",
}
_CALL_ID = {
    "name": "bridge_call_id",
    "in": "path",
    "required": True,
    "description": "Our id of the call, as in the log, the metadata and the record.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 100},
}
_TIME = {"type": "string", "maxLength": 100}
_FILTERS = [
    {"name": name, "in": "query", "description": why, "schema": schema}
    for name, why, schema in (
        ("since", "From then on: 24h, 7d, 2026-07-01 or 2026-07-01T09:30.", _TIME),
        ("until", "Before then, written likewise.", _TIME),
        ("did", "Only calls to this number.", {"type": "string"}),
        ("caller", "Only calls of this caller.", {"type": "string"}),
        ("rule", "Only calls that this rule took.", {"type": "string"}),
        ("result", "Only calls that went so.", {"enum": [each.value for each in Result]}),
        ("reason", "Only calls that went so.", {"enum": [each.value for each in Reason]}),
        ("limit", "How many, the latest of them.", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}),
        ("after", "What `next` of the page before said.", {"type": "string"}),
    )
]
_OF_RECORDS = {"503": "The records cannot be read now."}
_RECORD = {
    "type": "object",
    "description": "docs/records.md has each field; null is what nobody has reported.",
    "required": [field.name for field in fields(CallRecord)],
}
_DONE = {"type": "object", "required": ["done"], "properties": {"done": {"type": "boolean"}, "to": {"type": "string"}}}
_CHANNEL = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "uniqueid": {"type": "string"},
        "state": {"type": "string"},
        "joined": {"type": "boolean"},
    },
}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_LIVE_CALL = {
    "type": "object",
    "required": ["bridge_call_id", "received_at", "pbx", "uniqueid", "channels"],
    "description": "Null is what nobody has reported yet; `channels` is empty where the PBX cannot be asked.",
    "properties": {
        "bridge_call_id": {"type": "string"},
        "received_at": _TEXT_OR_NULL,
        "did": _TEXT_OR_NULL,
        "caller_number": _TEXT_OR_NULL,
        "rule": _TEXT_OR_NULL,
        "agent_id": _TEXT_OR_NULL,
        "region": _TEXT_OR_NULL,
        "pbx": _TEXT_OR_NULL,
        "uniqueid": _TEXT_OR_NULL,
        "channels": {"type": "array", "items": _CHANNEL},
    },
}


def openapi(version: str) -> dict[str, Any]:
    """Return the description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "agi_bridge",
            "version": version,
            "description": "Live calls between an Asterisk PBX and Millis agents.",
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _ERROR, "LiveCall": _LIVE_CALL, "CallRecord": _RECORD},
        },
        "security": [{"token": []}],
        "paths": {
            "/api/v1/openapi.json": {
                "get": _operation("openapi", "This description", {"type": "object"}, open_to=True)
            },
            "/api/v1/live": {
                "get": _operation(
                    "live",
                    "The calls that are up, the latest first. Scope read",
                    {
                        "type": "object",
                        "required": ["calls", "complete"],
                        "properties": {
                            "calls": {"type": "array", "items": {"$ref": "#/components/schemas/LiveCall"}},
                            "complete": {
                                "type": "boolean",
                                "description": "False where the records cannot be read now, or there are more calls.",
                            },
                        },
                    },
                )
            },
            "/api/v1/route": {
                "post": _operation(
                    "route",
                    "What would become of a call; nothing is asked or dialled. Scope read",
                    {"type": "object"},
                    body={"did": _TEXT | {"minLength": 1}, "caller": _TEXT, "context": _TEXT, "channel": _TEXT},
                    needed=["did"],
                    more={"422": "No call could look like that."},
                )
            },
            "/api/v1/calls": {
                "get": _operation(
                    "calls",
                    "The records of calls, the latest first, page by page. Scope read",
                    {
                        "type": "object",
                        "required": ["calls", "next"],
                        "properties": {
                            "calls": {"type": "array", "items": {"$ref": "#/components/schemas/CallRecord"}},
                            "next": {"type": ["string", "null"]},
                        },
                    },
                    query=_FILTERS,
                    more=_OF_RECORDS,
                )
            },
            "/api/v1/calls/{bridge_call_id}": {
                "parameters": [_CALL_ID],
                "get": _operation(
                    "call",
                    "The record of one call, live or over. Scope read",
                    {"$ref": "#/components/schemas/CallRecord"},
                    more=_OF_RECORDS | {"404": "There is no record of a call of that id."},
                ),
            },
            "/api/v1/calls/{bridge_call_id}/transfer": {
                "parameters": [_CALL_ID],
                "post": _operation(
                    "transfer",
                    "Send the caller to a destination of the list. Scope control",
                    _DONE,
                    body={"to": _TEXT | {"minLength": 1}, "reason": _TEXT, "summary": _TEXT},
                    needed=["to"],
                    more=_OF_CALL,
                ),
            },
            "/api/v1/calls/{bridge_call_id}/hangup": {
                "parameters": [_CALL_ID],
                "post": _operation("hangup", "End a call. Scope control", _DONE, more=_OF_CALL),
            },
            "/api/v1/originate": {
                "post": _operation(
                    "originate",
                    "Call a number, and connect whoever answers with the agent of an outbound rule. The answer comes when the PBX "
                    "dials. Scope control",
                    {
                        "type": "object",
                        "required": ["done", "bridge_call_id", "to"],
                        "properties": {
                            "done": {"type": "boolean"},
                            "bridge_call_id": {"type": "string"},
                            "to": {"type": "string", "description": "The number in E.164, as it is dialled."},
                        },
                    },
                    body={"to": _TEXT | {"minLength": 1}, "rule": _TEXT | {"minLength": 1}, "agent": _TEXT},
                    needed=["to", "rule"],
                    more=_OF_NEW_CALL,
                )
            },
        },
    }


def _operation(
    name: str,
    summary: str,
    answer: dict[str, Any],
    *,
    body: dict[str, Any] | None = None,
    needed: list[str] | None = None,
    more: dict[str, str] | None = None,
    query: list[dict[str, Any]] | None = None,
    open_to: bool = False,
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": answer}}},
            **{status: _refusal(why) for status, why in ({} if open_to else _ERRORS | (more or {})).items()},
        },
    }
    if open_to:
        described["security"] = []
    if query is not None:
        described["parameters"] = query
    if body is not None:
        schema = {"type": "object", "properties": body, "required": needed or []}
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return described


def _refusal(why: str) -> dict[str, Any]:
    return {"description": why, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
