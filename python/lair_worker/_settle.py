"""What an odd result comes to where there is nothing but a value to answer with."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_loop: Any = None


def settled(value: Any) -> Any:
    """What an awaitable gives, and the items of a generator in a list."""
    if hasattr(type(value), "__await__"):
        value = event_loop().run_until_complete(_value(value))
    if hasattr(type(value), "__anext__"):
        return event_loop().run_until_complete(_items(value))
    return list(value) if hasattr(type(value), "__next__") else value


def event_loop() -> Any:
    """A loop that is kept, so that what a command leaves in it goes on with the next one."""
    global _loop
    if _loop is None:
        import asyncio

        _loop = asyncio.new_event_loop()
        asyncio.set_event_loop(_loop)
    return _loop


def close_event_loop() -> None:
    """Cancels what is left in the loop, so that its ``finally`` runs; waits a moment for it."""
    global _loop
    loop, _loop = _loop, None
    if loop is None or loop.is_running():
        return
    import asyncio

    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
    loop.run_until_complete(loop.shutdown_asyncgens())
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # seen; it would be reported otherwise
    if all(task.done() for task in tasks):
        loop.close()


async def _value(awaitable: Any) -> Any:
    return await awaitable


async def _items(generator: Any) -> list[Any]:
    return [item async for item in generator]
