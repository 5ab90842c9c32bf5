"""A small real server, in a process of its own: `python server.py` prints its port. Delays of its answers are known."""

import asyncio
import json
import socket
import time

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

STEADY_S = 0.005
STALL_EVERY_S, STALL_S = 2.0, 0.5
STARTED_S = time.monotonic()
seen = []


async def steady(request):
    """Answers after STEADY_S, however many others wait."""
    body = await request.json()
    seen.append(body)
    await asyncio.sleep(STEADY_S)
    return JSONResponse({"length": len(json.dumps(body))})


async def stalls(request):
    """Nobody is answered in the last STALL_S of every STALL_EVERY_S."""
    left_s = STALL_EVERY_S - (time.monotonic() - STARTED_S) % STALL_EVERY_S
    if left_s < STALL_S:
        await asyncio.sleep(left_s)
    return Response(b"{}")


async def sheds(request):
    """Every other request is refused, in turn with 429 and 503."""
    seen.append(None)
    return Response(b"{}", status_code=(200, 429, 200, 503)[len(seen) % 4])


async def fails(request):
    return Response(b"broken", status_code=500)


async def refuses(request):
    return JSONResponse({"error": "no field 'inputs'"}, status_code=422)


async def sleeps(request):
    """Every fourth answer comes too late."""
    seen.append(None)
    await asyncio.sleep(5.0 if len(seen) % 4 == 1 and len(seen) > 1 else 0.0)
    return Response(b"{}")


async def one_at_a_time(request):
    """A server with a capacity: 1 / STEADY_S."""
    async with turn:
        await asyncio.sleep(STEADY_S)
    return Response(b"{}")


async def chunked(request):
    async def parts():
        yield b"{"
        await asyncio.sleep(0.001)
        yield b"}"

    return StreamingResponse(parts())


async def told(request):
    return JSONResponse({"seen": seen, "headers": dict(request.headers)})


turn = asyncio.Lock()
ROUTES = [steady, stalls, sheds, fails, refuses, sleeps, one_at_a_time, chunked, told]
app = Starlette(routes=[Route(f"/{route.__name__}", route, methods=["POST", "GET"]) for route in ROUTES])


async def raw(reader, writer):
    """Not HTTP's fault: `/hangs_up` ends every other connection without a word, `/mumbles` answers with rubbish, `/closes`
    ends its answer with the connection."""
    global turns
    head = await reader.readuntil(b"\r\n\r\n")
    turns += 1
    if b"/closes" in head:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n{}")
    elif b"/mumbles" in head:
        writer.write(b"EHLO\r\n\r\n")
    elif turns % 2:
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")
    writer.close()


turns = 0


async def main():
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    rude = await asyncio.start_server(raw, "127.0.0.1", 0)
    print(listening.getsockname()[1], rude.sockets[0].getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off")
    await asyncio.gather(uvicorn.Server(config).serve([listening]), rude.serve_forever())


if __name__ == "__main__":
    asyncio.run(main())
