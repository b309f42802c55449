"""Asks a server on many connections at once: PORT CONNECTIONS REQUESTS-EACH.

Every connection is opened before the first question. Of each text only its own
label is right: pos for "pos1 …", neg for "neg1 …". Prints counts as JSON.
"""

import asyncio
import json
import resource
import sys

PORT, CONNECTIONS, REQUESTS = map(int, sys.argv[1:])


async def ask(reader, writer, text):
    body = json.dumps({"text": text}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    answer = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in answer.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    return answer.split(b" ")[1], json.loads(await reader.readexactly(length))


async def connection(number, everybody):
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    everybody["open"] += 1
    if everybody["open"] == CONNECTIONS:
        everybody["there"].set()
    await everybody["there"].wait()
    label = ("neg", "pos")[number % 2]
    answered = wrong = 0
    for request in range(REQUESTS):
        status, answer = await ask(reader, writer, f"{label}{request} {label}{number % 10}")
        answered += status == b"200"
        wrong += answer.get("label") != label
    writer.close()
    return answered, wrong


async def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    everybody = {"open": 0, "there": asyncio.Event()}
    counts = await asyncio.gather(*(connection(n, everybody) for n in range(CONNECTIONS)))
    answered, wrong = map(sum, zip(*counts))
    print(json.dumps({"answered": answered, "wrong": wrong, "open_at_once": everybody["open"]}))


asyncio.run(main())
