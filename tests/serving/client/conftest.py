"""Clients of both kinds, used alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from attnexport.serving import AsyncClient, Client


class Awaited:
    """An AsyncClient driven from a test that blocks."""

    def __init__(self, runner: asyncio.Runner, *arguments: Any, **options: Any) -> None:
        self._client, self._runner = AsyncClient(*arguments, **options), runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            return self._runner.run(getattr(self._client, name)(*arguments, **options))

        return call


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Make a client of either kind; all are closed in the end."""
    made: list[Any] = []
    with asyncio.Runner() as runner:

        def make(*arguments: Any, **options: Any) -> Any:
            kind = (lambda *a, **o: Awaited(runner, *a, **o)) if request.param == "async" else Client
            made.append(kind(*arguments, **{"model": "m", "timeout": 20, **options}))
            return made[-1]

        yield make
        for each in made:
            each.close()
