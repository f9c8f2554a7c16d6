"""argv: COUNT SECONDS. When a line comes: that many sleeps at once, then their time as a line."""

import asyncio
import sys
import time


async def naps(count, seconds):
    await asyncio.gather(*(asyncio.sleep(seconds) for _ in range(count)))


for _ in sys.stdin:
    began = time.perf_counter()
    asyncio.run(naps(int(sys.argv[1]), float(sys.argv[2])))
    print(time.perf_counter() - began, flush=True)
