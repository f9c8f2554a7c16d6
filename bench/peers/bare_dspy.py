"""Bare DSPy: runs "question -> answer" as often as it is told, so many at a time, asking the LM at URL.

python bare_dspy.py URL     writes `ready VERSION`; then for each line `COUNT CONCURRENCY` of stdin `done`
"""

from __future__ import annotations

import asyncio
import os
import sys

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no network

import dspy

dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)


def main(url: str) -> None:
    lm = dspy.LM("openai/gpt-4o-mini", api_base=url, api_key="sk-bench", temperature=0.7, cache=False)
    dspy.configure(lm=lm)
    program = dspy.Predict("question -> answer")
    loop = asyncio.new_event_loop()

    async def many(count: int, concurrency: int) -> None:
        places = asyncio.Semaphore(concurrency)

        async def one(number: int) -> None:
            async with places:
                assert (await program.acall(question=f"What is {number}?")).answer == "something"

        await asyncio.gather(*(one(number) for number in range(count)))

    print("ready", dspy.__version__, flush=True)
    for line in sys.stdin:
        count, concurrency = map(int, line.split())
        if concurrency > 1:
            loop.run_until_complete(many(count, concurrency))
        else:
            for number in range(count):
                assert program(question=f"What is {number}?").answer == "something"
        print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
