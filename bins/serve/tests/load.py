"""Load on a server that runs: streams, and connections that do nothing.

usage: load.py URL MODEL [STREAMS [CONNECTIONS [TOKENS]]]

Opens CONNECTIONS connections, half of which send half a request's head, then STREAMS streams at once, each from a
process-wide start to `[DONE]`. Prints one JSON object: errors, tokens/s over all streams, and percentiles of the time to
the first token and between tokens. Needs nothing but Python.
"""

import asyncio
import json
import resource
import sys
import time
from urllib.parse import urlsplit


def percentiles(values):
    values = sorted(values)
    at = lambda share: round(values[min(len(values) - 1, int(share * len(values)))], 4)
    return {"p50": at(0.5), "p95": at(0.95), "max": at(1.0)} if values else None


async def idle(host, port, half):
    reader, writer = await asyncio.open_connection(host, port)
    if half:
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: lo")
        await writer.drain()
    return reader, writer


async def stream(url, model, i, tokens):
    """Times of the tokens of one stream, from its start; an exception if it does not end well."""
    body = json.dumps({
        "model": model, "stream": True, "temperature": 0, "max_tokens": tokens,
        "messages": [{"role": "user", "content": f"Write a long story about bird number {i}."}],
    })
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write((head + body).encode())
    status = await reader.readline()
    if b" 200 " not in status:
        raise RuntimeError(status.decode().strip())
    times, done = [], False
    async for line in reader:
        if line.startswith(b'data: {"error"'):
            raise RuntimeError(line.decode())
        if line.startswith(b"data: ") and b'"content":"' in line and b'"role"' not in line:
            times.append(time.perf_counter() - start)
        done |= line.startswith(b"data: [DONE]")
    writer.close()
    if not done:
        raise RuntimeError("the stream broke off")
    return times


async def main():
    url, model = urlsplit(sys.argv[1]), sys.argv[2]
    streams, connections, tokens = (int(a) for a in [*sys.argv[3:], *["64", "1000", "64"][len(sys.argv) - 3:]])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    others = await asyncio.gather(
        *(idle(url.hostname, url.port, i % 2) for i in range(connections)), return_exceptions=True
    )
    start = time.perf_counter()
    ended = await asyncio.gather(
        *(stream(url, model, i, tokens) for i in range(streams)), return_exceptions=True
    )
    seconds = time.perf_counter() - start
    good = [times for times in ended if not isinstance(times, BaseException)]
    bad = [str(e) for e in [*ended, *others] if isinstance(e, BaseException)]
    gaps = [b - a for times in good for a, b in zip(times, times[1:])]
    print(json.dumps({
        "streams": streams, "connections": connections, "errors": len(bad), "first_error": bad[:1],
        "seconds": round(seconds, 2), "tokens_per_s": round(sum(map(len, good)) / seconds, 1),
        "first_token_s": percentiles([times[0] for times in good if times]), "next_token_s": percentiles(gaps),
    }, indent=2))
    return 1 if bad else 0


sys.exit(asyncio.run(main()))
