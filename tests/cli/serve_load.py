"""Query a server on many connections at once: python serve_load.py PORT CONNECTIONS REQUESTS

Opens all connections before the first request, and sends REQUESTS requests on each. The expected
label is pos for "pos1 …" and neg for "neg1 …". Prints counts as JSON.
"""

import asyncio
import json
import resource
import sys

PORT, CONNECTIONS, REQUESTS = map(int, sys.argv[1:])


async def predict(reader, writer, text):
    body = json.dumps({"text": text}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    return head.split(b" ")[1], json.loads(await reader.readexactly(length))


async def connection(number, state):
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    state["open"] += 1
    if state["open"] == CONNECTIONS:
        state["all_open"].set()
    await state["all_open"].wait()
    label = ("neg", "pos")[number % 2]
    answered = wrong = 0
    for request in range(REQUESTS):
        status, prediction = await predict(reader, writer, f"{label}{request} {label}{number % 10}")
        answered += status == b"200"
        wrong += prediction.get("label") != label
    writer.close()
    return answered, wrong


async def main():
    _, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))
    state = {"open": 0, "all_open": asyncio.Event()}
    counts = await asyncio.gather(*(connection(n, state) for n in range(CONNECTIONS)))
    answered, wrong = map(sum, zip(*counts))
    print(json.dumps({"answered": answered, "wrong": wrong, "open_at_once": state["open"]}))


asyncio.run(main())
