"""Requests as the samples of the labels were asked: with the router's system message, template, stop strings,
temperature.

A request that has one of these keeps its own. The template is of a prompt alone, so that it is filled
where one text of the user is all that a request says. Pure functions.
"""

from __future__ import annotations

import json
from typing import Any

from demur.gateway.http.json_edit import Body, body_of
from demur.routing.asked_as import SYSTEM_ROLES, AskedAs

SYSTEM_MEMBERS = {"messages": "system", "responses": "instructions"}  # of APIs that have one beside the messages
_ALL = ("chat", "messages", "responses")
TAKES = {"temperature": _ALL, "top_p": _ALL, "top_k": ("chat", "messages"), "min_p": ("chat",)}
STOP_MEMBERS = {"chat": "stop", "messages": "stop_sequences"}


def as_labelled(body: Body, api: str, asked: AskedAs) -> Body:
    """The body of a request of this API, asked so; as it is where nothing of it fits."""
    fields = json.loads(body.raw)
    filled = (
        {} if asked.plain else _fill_template(fields, asked.template)
    )  # a model's own chat template fills a plain one
    stop = STOP_MEMBERS.get(api)
    changed = filled | _with_system({**fields, **filled}, api, asked)
    changed |= {name: value for name, value in asked.draw if name not in fields and api in TAKES[name]}
    changed |= {stop: list(asked.stop)} if stop and asked.stop and not fields.get(stop) else {}
    return body_of(body.replace_member(**changed))[0] if changed else body


def _fill_template(fields: dict[str, Any], template: str) -> dict[str, Any]:
    """The member with the only text of a request, in the template."""
    said, items = fields.get("input"), fields.get("messages")
    if template == "{prompt}":
        return {}
    if isinstance(said, str):
        return {"input": template.replace("{prompt}", said)}
    if not isinstance(items, list) or len(items) != 1 or not isinstance(items[0], dict):
        return {}
    text = items[0].get("content")
    if items[0].get("role") != "user" or not isinstance(text, str):
        return {}
    return {"messages": [{**items[0], "content": template.replace("{prompt}", text)}]}


def _with_system(fields: dict[str, Any], api: str, asked: AskedAs) -> dict[str, Any]:
    """The member with the system message, where the request has none."""
    member, items = SYSTEM_MEMBERS.get(api), fields.get("messages", fields.get("input"))
    said = items if isinstance(items, list) else []
    if not asked.system or any(isinstance(one, dict) and one.get("role") in SYSTEM_ROLES for one in said):
        return {}
    if member:
        return {} if fields.get(member) else {member: asked.system}
    return {"messages": [{"role": "system", "content": asked.system}, *said]} if said else {}
