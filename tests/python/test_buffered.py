"""Frames that are in the worker's buffer while its event loop waits for the descriptor: none is left there.

They get there together with the one before, or when the handler of the doorbell looks for a CANCEL.
"""

from __future__ import annotations

import itertools
import signal

import pytest

from host import CALL, CALLBACK, CALLBACK_RESULT, CANCEL, CHUNK, CREDIT, END, RESULT, wait_until

SOURCE = """
    import asyncio
    import select
    import signal

    import lair_worker as lair
    from lair_worker import host
    from lair_worker._channel import Channel

    notes = []
    look_ahead = Channel.look_ahead

    def echo(value): return value
    def take_notes(): return notes

    async def ask(n):
        return await asyncio.gather(*(host.double(i) for i in range(n)))

    async def shielded():
        with lair.shield():
            notes.append(await host.double(1))

    async def ask_and_keep_the_loop():
        asked = asyncio.ensure_future(host.double(1))
        await asyncio.sleep(0)
        signal.pause()
        return await asked

    async def keep_the_loop_and_count(n):
        yield "begun"
        signal.pause()
        for i in range(n):
            yield i

    async def count(n):
        for i in range(n):
            yield i

    def keep_the_worker_and_count(n):
        signal.pause()
        return count(n)

    async def leave_one_that_asks_at_its_end():
        async def wait():
            try:
                await asyncio.sleep(600)
            finally:
                await host.double(1)
        asyncio.get_running_loop().create_task(wait())
        await asyncio.sleep(0)

    @lair.on_stop
    def stop():
        print("stops")

    async def ask_late(gate):
        while True:
            try:
                open(gate).close()
            except FileNotFoundError:
                await asyncio.sleep(0.001)
            else:
                break
        for _ in range(3):
            await asyncio.sleep(0)
        return await host.double(1)

    def look_once_more_has_come():
        def look(channel):
            print("looks")
            select.select([channel.source], [], [])
            return look_ahead(channel)
        Channel.look_ahead = look
"""


@pytest.fixture
def worker(full):
    return full(SOURCE)


def open_callbacks(worker, number, n):
    """The frames that answer a call's CALLBACKs, of which there are ``n``."""
    frames = []
    for _ in range(n):
        kind, of, _, count, _, (value,), _ = worker.receive()
        assert (kind, of) == (CALLBACK, number)
        frames.append(worker.frame(CALLBACK_RESULT, number, count, True, 2 * value))
    return frames


def while_it_is_stopped(worker, data):
    """Has the worker find, when it goes on, that the bell has rung and that data has come."""
    worker.wait_for_sleep()
    worker.stop()
    worker.write(data)
    worker.ring()
    worker.signal(signal.SIGCONT)


@pytest.mark.parametrize("bell", [False, True])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_results_cut_and_joined_anywhere(worker, order, bell):
    cut = 0
    while True:
        number = worker.send_call("ask", [3])
        frames = open_callbacks(worker, number, 3)
        data = b"".join(frames[i] for i in order)
        for piece in (data[:cut], data[cut:]):
            worker.write(piece)
            if bell:
                worker.ring()
            else:
                worker.wait_for_sleep()
        assert worker.receive() == [RESULT, number, worker.generation, [0, 2, 4]]
        cut += 1
        if cut == len(data):
            return


def test_a_result_that_comes_while_those_before_are_taken(worker):
    worker.call("look_once_more_has_come")
    number = worker.send_call("ask", [3])
    first, second, third = open_callbacks(worker, number, 3)
    worker.write(first + second)
    wait_until(lambda: "looks" in worker.stdout_log.now(), "it looks for a CANCEL behind them")
    worker.write(third)
    assert worker.receive() == [RESULT, number, worker.generation, [0, 2, 4]]


def test_results_that_come_with_the_bell(worker):
    for n in (1, 2, 3):
        number = worker.send_call("ask", [n])
        while_it_is_stopped(worker, b"".join(open_callbacks(worker, number, n)))
        assert worker.receive()[3] == [2 * i for i in range(n)]


def test_a_result_that_the_bell_finds_while_a_coroutine_keeps_the_loop(worker):
    number = worker.send_call("ask_and_keep_the_loop", [])
    (frame,) = open_callbacks(worker, number, 1)
    worker.write(frame)
    worker.wait_for_sleep()
    worker.ring()
    assert worker.receive() == [RESULT, number, worker.generation, 2]


def test_a_result_behind_a_cancel_reaches_a_shield(worker):
    number = worker.send_call("shielded", [])
    (frame,) = open_callbacks(worker, number, 1)
    while_it_is_stopped(worker, worker.frame(CANCEL, number) + frame)
    worker.expect_cancelled(number)
    assert worker.call("take_notes") == [2]


def items_of(worker, number):
    items = []
    while (message := worker.receive())[0] == CHUNK:
        assert message[1] == number
        items += message[3]
    assert message == [END, number, worker.generation]
    return items


def test_credit_that_comes_with_the_call(worker):
    for number in (9, 10):
        call = worker.frame(CALL, number, "count", [5], {"stream": [1, 10**6]})
        worker.write(call + worker.frame(CREDIT, number, 100, 0))
        assert items_of(worker, number) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "command, first", [("keep_the_loop_and_count", ["begun"]), ("keep_the_worker_and_count", [])]
)
def test_credit_that_comes_with_the_bell(worker, command, first):
    number = worker.send_call(command, [5], stream=[1, 10**6])
    if first:
        assert worker.receive()[3] == first
    worker.wait_for_sleep()
    worker.write(worker.frame(CREDIT, number, 100, 0))
    worker.ring()
    assert items_of(worker, number) == [0, 1, 2, 3, 4]


def test_who_calls_a_host_that_writes_no_more_does_not_wait_for_it(full, tmp_path):
    worker = full(SOURCE)
    worker.send_call("ask_late", [str(tmp_path / "gate")])
    worker.wait_for_sleep()
    worker.close_input()
    (tmp_path / "gate").touch()
    assert worker.wait() == 0


def test_a_task_that_calls_a_host_that_writes_no_more_does_not_keep_the_worker(full):
    worker = full(SOURCE)
    worker.call("leave_one_that_asks_at_its_end")
    worker.close_input()
    assert worker.wait() == 0
    assert worker.stdout_log.all() == "stops\n"
