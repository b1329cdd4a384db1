"""The stream of one `subscriptions/listen` request: what is heard on it, and of which tasks."""

from __future__ import annotations

import asyncio
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.subscriptions import (
    SUBSCRIPTION_ID_META_KEY,
    ServerEvent,
    event_matches,
    event_to_notification,
)

from polycall.ir import JSON

Context = ServerRequestContext[Any, Any]


class TaskNotification(types.Notification[dict[str, Any], str]):
    """A task's present state; the library knows no such notification."""

    method: str = "notifications/tasks"
    params: dict[str, Any]


class ListenStream:
    """Says first what it will tell of, and then tells; of several changes of a thing the last."""

    def __init__(
        self, context: Context, wanted: types.SubscriptionFilter, tasks: list[str]
    ) -> None:
        self._context = context
        self._uris = list(dict.fromkeys(wanted.resource_subscriptions or []))
        self._filter = types.SubscriptionFilter.model_validate(
            {
                "toolsListChanged": wanted.tools_list_changed or None,
                "promptsListChanged": wanted.prompts_list_changed or None,
                "resourcesListChanged": wanted.resources_list_changed or None,
                "resourceSubscriptions": self._uris or None,
                **({"taskIds": tasks} if tasks else {}),
            }
        )
        self._meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: context.request_id}
        self._kept: dict[object, Any] = {}  # one of each thing, until it is sent
        self._has_more = asyncio.Event()

    def tell(self, event: ServerEvent) -> None:
        """Something changed."""
        if event_matches(self._filter, frozenset(self._uris), event):
            self._keep(event, event_to_notification(event, self._meta))

    def tell_of_task(self, view: JSON) -> None:
        """A task is this now."""
        self._keep(view["taskId"], TaskNotification(params={**view, "_meta": self._meta}))

    async def run(self) -> None:
        """Until the client leaves."""
        params = types.SubscriptionsAcknowledgedNotificationParams(
            notifications=self._filter, _meta=self._meta
        )
        await self._send(types.SubscriptionsAcknowledgedNotification(params=params))
        while True:
            await self._has_more.wait()
            self._has_more.clear()
            while self._kept:
                await self._send(self._kept.pop(next(iter(self._kept))))

    def _keep(self, key: object, notification: Any) -> None:
        self._kept[key] = notification
        self._has_more.set()

    async def _send(self, notification: Any) -> None:
        await self._context.session.send_notification(notification, self._context.request_id)
