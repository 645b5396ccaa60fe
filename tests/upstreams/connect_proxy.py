"""An HTTP proxy in a process of its own, which opens tunnels (CONNECT) as a company's way out does.

    python tests/upstreams/connect_proxy.py PORT [STATUS]

Whatever host is asked for, the tunnel leads to this port of this machine, so that a name which exists nowhere can only
be reached through here. With a status, every tunnel is refused with it. Prints its own port, then a line for each
CONNECT: the host and port that were asked for, and the Proxy-Authorization that came along. Ends with its input.
"""

import asyncio
import sys


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def copied(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def tunnel(reader, writer, port, status):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    say(f"{method} {target} {headers.get('proxy-authorization', '-')}")
    if status or method != "CONNECT":
        writer.write(f"HTTP/1.1 {status or 405} Refused\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        return
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await asyncio.gather(copied(reader, far_writer), copied(far_reader, writer))


async def main():
    port, status = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    server = await asyncio.start_server(lambda reader, writer: tunnel(reader, writer, port, status), "127.0.0.1", 0)
    say(str(server.sockets[0].getsockname()[1]))
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
