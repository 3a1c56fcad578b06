"""demur as a routing plugin of LiteLLM's router: LiteLLM keeps its deployments, demur decides between two of them.

    router = litellm.Router(
        model_list=[
            {"model_name": "chat", "litellm_params": {"model": "openai/small", "api_base": "http://gpu:8000/v1"}},
            {"model_name": "chat", "litellm_params": {"model": "gpt-4o"}},
        ],
        plugins=[DemurPlugin("http://127.0.0.1:8111", weak="openai/small", strong="gpt-4o")],
    )
    await router.acompletion(model="chat", messages=[{"role": "user", "content": "Why is the sky blue?"}])

`demur serve` runs beside it and is asked for decisions alone (`POST /v1/decide`). Where it does not answer in time, the
strong model does. Tried with litellm 1.108.7.
"""

from __future__ import annotations

import os
from typing import Any

import httpx  # comes with litellm


class DemurPlugin:
    """Leaves of the candidates the one that demur chooses; groups without both models are left alone."""

    def __init__(self, url: str, *, weak: str, strong: str, key_env: str = "DEMUR_KEY", seconds: float = 5.0) -> None:
        self._url, self._models = f"{url.rstrip('/')}/v1/decide", {"weak": weak, "strong": strong}
        key = os.environ.get(key_env)
        self._client = httpx.AsyncClient(timeout=seconds, headers={"Authorization": f"Bearer {key}"} if key else {})

    async def run(self, context: Any) -> Any:
        """See `litellm.types.router.RoutingPlugin`."""
        if not set(self._models.values()) <= set(context.candidate_models):
            return context
        decision = await self._decide(context)
        context.signals["demur"] = decision
        context.candidate_models = [self._models[decision["role"]]]
        return context

    async def _decide(self, context: Any) -> dict[str, Any]:
        session = context.metadata.get("session_id")
        headers = {"x-demur-conversation": str(session)} if session else {}
        try:
            answer = await self._client.post(self._url, json={"messages": context.structured_messages}, headers=headers)
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            return {"role": "strong", "reason": f"demur did not answer ({type(error).__name__})"}
        return found
