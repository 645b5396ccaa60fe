"""The guard does what a service does now and then: it lags, moves, refuses, drops and cuts, when a test wants it."""

import datetime as dt
import math
import threading
import time

import pytest
import redis
from redis.cluster import ClusterNode

from engines.client import ASKED, EVERY, KNN, MEMORYDB, OLD, SCHEMA, VALKEYS, Client, floats
from engines.guard import Guard, GuardBroken, Iam
from engines.resp import EngineError, Wire, command
from engines.tokens import Secret
from engines.valkey import wait_until


@pytest.fixture
def client(guard_client):
    return guard_client


# The index lags


def test_what_was_just_written_is_not_found_yet(client):
    one = client().fill()
    one.guard.index_lag_seconds = math.inf
    assert one.found() == [3, 2, 1]  # written before the lag began
    one.ask("HSET", f"{one.name}:3", "x", 5)
    assert one.found() == [2, 1, 0]  # k neighbours all the same
    assert one.ask("HGET", f"{one.name}:3", "x") == b"5"
    assert one.found("PARAMS", 2, "q", floats(1, 0), "LIMIT", 1, 1) == [1]
    one.guard.index_lag_seconds = 0
    assert one.found() == [3, 2, 1]


def test_what_scripts_and_transactions_write_lags_too(client):
    one = client().fill()
    one.guard.index_lag_seconds = math.inf
    text = "return redis.call('HSET', ARGV[1], 'x', 1)"
    sha = one.ask("SCRIPT", "LOAD", text)
    for write, left in ((("EVAL", text), [2, 1, 0]), (("EVALSHA", sha), [1, 0])):
        one.ask(*write, 0, f"{one.name}:{len(left)}")
        assert one.found() == left
    one.ask_all([("MULTI",), ("HSET", f"{one.name}:1", "x", 1), ("EXEC",)])
    assert one.found() == [0]


def test_the_lag_passes(client):
    one = client().fill()
    one.guard.index_lag_seconds = 0.1
    one.ask("HSET", f"{one.name}:3", "x", 5)
    begun = time.monotonic()
    seen = one.found()
    assert seen == [2, 1, 0] or time.monotonic() - begun > 0.1
    wait_until(lambda: one.found() == [3, 2, 1], "the write is found")


def test_hundreds_of_writes_from_many_connections_are_all_hidden(client, engine):
    one = client().fill()
    one.guard.index_lag_seconds = math.inf

    def write(start):
        with Wire("127.0.0.1", one.guard.port) as wire:
            wire.ask_all([("HSET", f"{one.name}:{n}", "s", "ab", "v", floats(1, 0)) for n in range(start, start + 50)])

    threads = [threading.Thread(target=write, args=(100 * n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one.found() == [3, 2, 1]


@pytest.mark.parametrize("profile", VALKEYS)
def test_valkey_search_finds_its_own_writes(client, profile):
    one = client(profile).fill()
    one.guard.index_lag_seconds = math.inf
    one.ask("HSET", f"{one.name}:0", "v", floats(1, 0))
    assert 0 in one.found()


# Backfilling


def test_a_backfilling_index_refuses_to_search(client):
    one = client().fill()
    one.guard.backfilling = True
    assert "backfill" in one.refusal("FT.SEARCH", one.name, KNN, *ASKED)
    assert "backfill" in one.refusal("FT.AGGREGATE", one.name, "*")
    assert one.ask("HGET", f"{one.name}:0", "s") == b"ab"
    one.guard.backfilling = {"another"}
    assert one.found() == [3, 2, 1]
    one.guard.backfilling = False
    one.guard.backfill_for(0.05)
    wait_until(lambda: _found(one), "the index is back")
    one.guard.texts["backfilling"] = "ERR index not ready"
    one.guard.backfilling = True
    assert one.refusal("FT.SEARCH", one.name, KNN, *ASKED) == "ERR index not ready"


def _found(client):
    try:
        return client.found() == [3, 2, 1]
    except EngineError:
        return False


@pytest.mark.parametrize("profile", EVERY)
def test_an_index_over_old_data_is_whole_at_once_unless_a_test_wants_to_see_it_grow(make_engine, client, profile):
    one = client(profile, make_engine())
    one.ask_all([("HSET", f"{one.name}:{n}", "s", "ab", "v", floats(1, n)) for n in range(1000)])
    one.create()
    assert one.search_count(1000) == 1000
    one.ask("FT.DROPINDEX", one.name)
    one.guard.shows_real_backfill = True
    one.create()
    assert one.search_count(1000) in ({None, 1000} if profile == MEMORYDB else range(1001))
    wait_until(lambda: one.search_count(1000) == 1000, "the index is whole")


# Order and rows


def test_rows_may_come_in_any_order(client):
    one = client().fill()
    one.guard.order = "document"
    assert one.found() == [1, 2, 3]
    one.guard.order = "reversed"
    assert one.found() == [1, 2, 3]
    assert one.found("PARAMS", 2, "q", floats(1, 0), "LIMIT", 0, 1) == [1]  # pages from the far end
    one.guard.order = "nearest"
    assert one.found() == [3, 2, 1]


def test_rows_may_be_nil_or_gone(client):
    one = client().fill()
    key = f"{one.name}:3".encode()
    one.guard.nil_rows = {key}
    total, *rows = one.ask("FT.SEARCH", one.name, KNN, *ASKED)
    assert (total, rows[0], rows[1]) == (3, key, None)
    assert rows[3]
    one.guard.nil_rows = True
    assert one.ask("FT.SEARCH", one.name, KNN, *ASKED)[2::2] == [None] * 3
    one.guard.heal()
    one.guard.ghosts = [(b"gone", 0.001)]
    assert one.ask("FT.SEARCH", one.name, KNN, *ASKED)[:3] == [4, b"gone", [b"score", b"0.001"]]


@pytest.mark.parametrize("profile", EVERY)
def test_expired_keys(make_engine, client, profile):
    engine = make_engine()
    one = client(profile, engine).fill()
    engine.cli("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    one.ask("PEXPIRE", f"{one.name}:3", 1)
    wait_until(lambda: one.ask("PTTL", f"{one.name}:2") == -1 and engine.cli("TIME"), "a moment has passed")
    wait_until(lambda: _expired(one, profile), "the key has expired")


def _expired(client, profile):
    total, *rows = client.ask("FT.SEARCH", client.name, KNN, *ASKED)
    if profile == MEMORYDB:  # still listed, as a row without fields
        return (total, rows[0], rows[1]) == (3, f"{client.name}:3".encode(), None)
    return total == 2 and rows[0] == f"{client.name}:2".encode()


# States of the node


def test_a_replica_refuses_writes_only(client):
    one = client().fill()
    reading = "#!lua flags=no-writes\nreturn redis.call('HGET', KEYS[1], 's')"
    sha = one.ask("SCRIPT", "LOAD", reading)
    one.guard.readonly = True
    key = f"{one.name}:0"
    writes = [("HSET", key, "x", 1), ("DEL", key), ("EVAL", "redis.call('DEL', KEYS[1])", 1, key)]
    for words in [*writes, ("FT.DROPINDEX", one.name)]:
        assert one.refusal(*words).startswith("READONLY ")
    assert one.refusal("EVALSHA", "0" * 40, 0).startswith("NOSCRIPT "), "a script that is not there writes nothing"
    assert one.ask("EVALSHA", sha, 1, key) == one.ask("EVAL", reading, 1, key) == one.ask("HGET", key, "s") == b"ab"
    assert one.found() == [3, 2, 1]
    one.guard.heal()
    assert one.ask("DEL", key) == 1


def test_a_script_that_only_the_engine_knows_is_judged_by_its_text(client, engine):
    sha = engine.cli("SCRIPT", "LOAD", "#!lua flags=no-writes\nreturn 7")
    one = client()
    one.guard.readonly = True
    assert one.ask("EVALSHA", sha, 0) == 7


def test_a_full_node_refuses_what_needs_memory(client):
    one = client().fill()
    one.guard.out_of_memory = True
    for words in (("HSET", f"{one.name}:0", "x", 1), ("EVAL", "#!lua\nreturn 1", 0)):
        assert one.refusal(*words).startswith("OOM ")
    assert one.ask("EVAL", "#!lua flags=allow-oom\nreturn 1", 0) == 1
    assert one.ask("DEL", f"{one.name}:0") == 1
    assert one.found() == [3, 2, 1]
    valkey = Client(client(OLD).guard, one.name)
    valkey.guard.out_of_memory = True
    assert valkey.refusal("FT.SEARCH", one.name, KNN, *ASKED).startswith("OOM ")
    valkey.close()


def test_a_loading_node_refuses_nearly_everything(client):
    one = client().fill()
    one.guard.loading = True
    for words in (("PING",), ("HGET", "k", "f"), ("FT.SEARCH", one.name, KNN, *ASKED), ("EVAL", "return 1", 0)):
        assert one.refusal(*words).startswith("LOADING ")
    assert one.ask("INFO", "server")


def test_a_cluster_that_is_down_refuses_keys_and_searches(client):
    one = client().fill()
    one.guard.clusterdown = True
    for words in (("GET", "k"), ("FT.SEARCH", one.name, KNN, *ASKED), ("EVAL", "return 1", 1, "k")):
        assert one.refusal(*words).startswith("CLUSTERDOWN ")
    assert one.ask("PING") == b"PONG"


def test_slots_move(client):
    one = client()
    rule = one.guard.move("127.0.0.1:7000", slots={12182})  # of "foo", as the cluster specification's tools tell
    assert one.refusal("GET", "foo") == "MOVED 12182 127.0.0.1:7000"
    assert one.refusal("EVAL", "return 1", 1, "{foo}bar") == "MOVED 12182 127.0.0.1:7000"
    assert one.ask("GET", "bar") is None
    assert one.ask("EVAL", "return 1", 0) == 1
    assert rule.used == 2
    one.guard.heal()
    one.guard.move("h:1", answer="ASK", times=1)
    assert one.refusal("GET", "bar") == "ASK 5061 h:1"
    assert one.ask("GET", "bar") is None


def test_any_error_for_a_number_of_times(client):
    one = client()
    one.guard.fail("GET", "TRYAGAIN Multiple keys request during rehashing of slot", times=2)
    assert [one.refusal("GET", "k")[:8] for _ in range(2)] == ["TRYAGAIN"] * 2
    assert one.ask("GET", "k") is None
    one.guard.fail(None, "MASTERDOWN Link with MASTER is down", times=None)
    assert one.ask("PING") == b"PONG"  # housekeeping is not meant by any
    assert "MASTERDOWN" in one.refusal("SET", "k", "v")


# Connections


def test_a_held_reply_waits_for_its_release(client):
    one = client()
    rule = one.guard.hold("INCR")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(one.ask("INCR", f"{one.name}:n")))
    thread.start()
    rule.wait_reached()
    with client(before=one.guard) as other:
        assert other.ask("GET", f"{one.name}:n") == b"1"  # it is done already
    assert not answers
    rule.release()
    thread.join()
    assert answers == [1]


def test_a_reply_comes_late(client):
    one = client()
    one.guard.delay("GET", 0.05)
    begun = time.monotonic()
    one.ask("GET", "k")
    assert time.monotonic() - begun >= 0.05
    with Wire("127.0.0.1", one.guard.port, timeout_seconds=0.01) as hasty, pytest.raises(TimeoutError):
        hasty.ask("GET", "k")


@pytest.mark.parametrize(("options", "done", "got"), [
    ({"when": "before"}, 0, b""),
    ({"when": "after"}, 1, b""),
    ({"when": "after", "after_bytes": 3}, 1, b":1\r"),
])  # fmt: skip
def test_a_connection_drops(client, options, done, got):
    one = client()
    key = f"{one.name}:n"
    one.guard.cut("INCR", **options)
    one._socket.sendall(command("INCR", key))
    received = b""
    try:
        while data := one._socket.recv(100):
            received += data
    except ConnectionResetError:
        pass
    assert received == got
    with client(before=one.guard) as other:
        assert other.ask("GET", key) == (b"1" if done else None)
        assert other.ask("DEL", key) == done


def test_all_connections_drop_and_new_ones_are_refused(client):
    one, two = client(), client()
    guard = one.guard
    other = client(before=guard)
    guard.refuse_connections()
    assert one.ask("PING") == b"PONG"
    with pytest.raises(ConnectionRefusedError):
        Wire("127.0.0.1", guard.port)
    guard.drop_connections()
    for dropped in (one, other):
        with pytest.raises(ConnectionError):
            dropped.ask("PING")
    assert guard.connections == 0
    assert two.ask("PING") == b"PONG"
    guard.listen_again()
    with client(before=guard) as again:
        assert again.ask("PING") == b"PONG"


def test_an_engine_that_dies_takes_its_clients_along_and_a_restart_is_enough(make_engine, client):
    engine = make_engine(appendonly=True)
    one = client(MEMORYDB, engine).fill()
    one.guard.index_lag_seconds = math.inf
    engine.kill()
    with pytest.raises(ConnectionError):
        one.ask("PING")
    with pytest.raises(ConnectionError), client(before=one.guard) as refused:
        refused.ask("PING")
    engine.restart()
    with Client(one.guard, one.name) as again:
        assert again.found() == [3, 2, 1]
        again.ask("HSET", f"{one.name}:3", "x", 5)
        assert again.found() == [2, 1, 0]  # it listens to the engine again


def test_the_guard_itself_is_not_confused_by_a_client_that_gives_up(make_engine, client):
    engine = make_engine()
    one = client(MEMORYDB, engine).fill()
    one.guard.indexes.clear()  # it has to ask the engine about the index
    engine.pause()
    for _ in range(3):
        with Wire("127.0.0.1", one.guard.port, timeout_seconds=0.02) as hasty, pytest.raises(TimeoutError):
            hasty.ask("FT.SEARCH", one.name, KNN, *ASKED)
    engine.resume()
    assert one.found() == [3, 2, 1]
    assert "not found" in one.refusal("FT.SEARCH", "nope", KNN, *ASKED)


def test_the_engines_own_rights_hold_behind_the_guard(make_engine, client):
    users = {"app": "on >secret ~n*:* ~n* +@read +@write +@connection +ft.create +ft.search", "default": "off"}
    one = client(MEMORYDB, make_engine(users=users))
    assert one.refusal("PING").startswith("NOAUTH")
    assert one.refusal("AUTH", "app", "wrong").startswith("WRONGPASS")
    one.ask("AUTH", "app", "secret")
    assert one.fill().found() == [3, 2, 1]
    assert one.refusal("GET", "other").startswith("NOPERM")
    assert one.refusal("FT.INFO", one.name).startswith("NOPERM")


# IAM


def token_for(user, cluster="shop", region="eu-west-1", secret="secret", hours=0):
    """Signed as the documentation says, by the AWS SDK, so many hours after NOW."""
    from botocore import auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest("GET", f"https://{cluster}/?Action=connect&User={user}")
    with pytest.MonkeyPatch.context() as patch:
        now = dt.datetime.fromtimestamp(NOW + 3600 * hours, dt.UTC)
        patch.setattr(auth, "get_current_datetime", lambda *_, **__: now)
        auth.SigV4QueryAuth(Credentials("AKID", secret), "memorydb", region, expires=900).add_auth(request)
    return request.url.removeprefix("https://")


NOW = 1767225600.0  # 2026-01-01T00:00:00Z


class Clock:
    now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def iam(client):
    clock = Clock()
    one = client(clock=clock, iam=Iam("shop", "eu-west-1", {"AKID": Secret("secret")}, users={"app"}))
    one.clock = clock
    return one


def test_a_good_token_opens_a_connection_and_no_other_does(iam):
    assert iam.refusal("GET", "k").startswith("NOAUTH")
    assert iam.refusal("HELLO", 2).startswith("NOAUTH")
    for token in (token_for("app", secret="guess"), token_for("app", cluster="other"), "password"):
        assert iam.refusal("AUTH", "app", token).startswith("WRONGPASS")
    assert iam.refusal("AUTH", "other", token_for("other")).startswith("WRONGPASS")
    assert iam.ask("AUTH", "app", token_for("app")) == b"OK"
    assert iam.ask("GET", "k") is None
    assert [reason is None for _, reason in iam.guard.logins] == [False] * 4 + [True]


def test_a_token_opens_connections_for_fifteen_minutes(iam):
    iam.clock.now += 899
    assert iam.ask("HELLO", 2, "AUTH", "app", token_for("app"), "SETNAME", "x")[:2] == [b"server", b"valkey"]
    iam.clock.now += 2
    assert iam.refusal("AUTH", "app", token_for("app")).startswith("WRONGPASS")
    assert iam.ask("PING") == b"PONG"  # what is open stays open


def test_iam_does_not_authenticate_inside_a_transaction(iam):
    iam.ask("AUTH", "app", token_for("app"))
    iam.ask("MULTI")
    assert "MULTI" in iam.refusal("AUTH", "app", token_for("app"))
    assert "EXECABORT" in iam.refusal("EXEC")


@pytest.mark.parametrize("renewed", [False, True])
def test_a_connection_is_cut_after_twelve_hours_unless_it_logs_in_again(iam, renewed):
    iam.ask("AUTH", "app", token_for("app"))
    iam.clock.now += 6 * 3600
    if renewed:
        iam.ask("AUTH", "app", token_for("app", hours=6))
    iam.clock.now += 6 * 3600
    if renewed:
        iam.guard.cut_expired()
        assert iam.ask("PING") == b"PONG"
        iam.clock.now += 6 * 3600
        iam.guard.cut_expired()
    with pytest.raises(ConnectionError):
        iam.ask("PING")


# Cluster clients and TLS


def test_a_cluster_client_stays_behind_the_guard(cluster_engine, make_guard):
    guard = make_guard(cluster_engine)
    client = redis.RedisCluster("127.0.0.1", guard.port, protocol=2)
    try:
        assert {(node.host, node.port) for node in client.get_nodes()} == {("127.0.0.1", guard.port)}
        with guard.watching() as seen:
            client.set("{a}k", "v")
            assert client.get("{a}k") == b"v"
        assert seen.names == ["SET", "GET"]
        assert seen.round_trips == 2
        client.execute_command("FT.CREATE", "cl", "ON", "HASH", "PREFIX", 1, "cl:", "SCHEMA", *SCHEMA)
        client.hset("cl:1", mapping={"s": "ab", "v": floats(1, 0)})
        assert client.execute_command("FT.SEARCH", "cl", KNN, *ASKED)[0] == 1
        client.execute_command("FT.DROPINDEX", "cl")
        with pytest.raises(redis.ResponseError, match="unknown command"):
            client.execute_command("CONFIG", "GET", "x", target_nodes=ClusterNode("127.0.0.1", guard.port))
    finally:
        client.close()


def test_every_way_to_ask_for_the_topology_names_guards(make_engine, make_guard):
    primary = make_engine(cluster=True, search=False)
    replica = make_engine(cluster=True, search=False, replica_of=primary)
    ports = {}
    first, second = make_guard(primary, ports=ports), make_guard(replica, ports=ports)
    with Client(second, "t") as client:
        [[_, _, *nodes]] = client.ask("CLUSTER", "SLOTS")
        assert {node[1] for node in nodes} == {first.port, second.port}
        shards = str(client.ask("CLUSTER", "SHARDS"))
        lines = client.ask("CLUSTER", "NODES").decode()
        for guard, engine in ((first, primary), (second, replica)):
            assert f":{guard.port}@" in lines
            assert f"b'port', {guard.port}" in shards
            assert f":{engine.port}@" not in lines
        assert client.refusal("GET", "foo") == f"MOVED 12182 127.0.0.1:{first.port}"
        [line] = client.ask("CLUSTER", "REPLICAS", primary.cli("CLUSTER", "MYID"))
        assert f":{second.port}@".encode() in line
        primary.kill()
        replica.take_over()
        wait_until(lambda: replica.cli("CLUSTER", "SLOTS")[0][2][1] == replica.port, "the replica has the slots")
        assert client.ask("CLUSTER", "SLOTS")[0][2][1] == second.port
        wait_until(lambda: _stored(client), "the replica takes writes")


def _stored(client):
    try:
        return client.ask("SET", "foo", "bar") == b"OK"
    except EngineError as error:
        if "CLUSTERDOWN" in str(error):
            return False
        raise


def test_another_engine_may_stand_behind_the_same_address(make_engine, client):
    primary = make_engine()
    one = client(MEMORYDB, primary).fill()
    one.guard.index_lag_seconds = math.inf
    replica = make_engine(replica_of=primary)
    primary.kill()
    replica.take_over()
    one.guard.point_at(replica)
    with pytest.raises(ConnectionError):
        one.ask("PING")
    with Client(one.guard, one.name) as again:
        wait_until(lambda: again.found() == [3, 2, 1], "the replica's index is there")
        again.ask("HSET", f"{one.name}:3", "x", 5)
        assert again.found() == [2, 1, 0]


def test_tls_ends_at_the_guard(engine, make_guard):
    guard = make_guard(engine, tls=True)
    assert guard.url == f"memorydb://localhost:{guard.port}?ca={guard.certificates.authority}"
    trusted = {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True, "protocol": 2}
    with redis.Redis("localhost", guard.port, ssl_ca_certs=str(guard.certificates.authority), **trusted) as client:
        assert client.ping()
    with redis.Redis("localhost", guard.port, **trusted, retry=None) as client, pytest.raises(redis.ConnectionError):
        client.ping()


# The journal


def test_the_journal_counts_commands_connections_and_round_trips(client):
    one = client()
    two = client(before=one.guard)
    with one.guard.watching() as seen:
        one.ask_all([("SET", f"{one.name}:{n}", "v") for n in range(20)])
        one.ask("GET", f"{one.name}:0")
        two.ask("PING")
        two.ask("GET", f"{one.name}:0")
        two.refusal("NOPE")
    two.ask("GET", "later")
    assert seen.counts == {"SET": 20, "GET": 2, "NOPE": 1}
    assert list(seen.counts_by_connection.values()) == [{"SET": 20, "GET": 1}, {"GET": 1, "NOPE": 1}]
    assert seen.round_trips == 4
    assert [one.name for one in seen.all].count("PING") == 1
    assert seen.errors == ["ERR unknown command 'NOPE', with args beginning with: "]
    assert seen.work[0].arguments == (f"{one.name}:0".encode(), b"v")


def test_the_fixture_tidies_up_behind_a_guard(engine):
    from engines import fixtures

    with Guard(engine) as guard, Client(guard, "tidy") as client:
        client.fill()
        fixtures._tidy(guard, engine)
        assert b"tidy" not in engine.cli("FT._LIST")
        assert client.ask("EXISTS", "tidy:0") == 0


def test_a_guard_that_fails_says_so(engine):
    guard = Guard(engine).start()
    with Client(guard, "broken") as client:
        guard.journal = None
        with pytest.raises(ConnectionError):
            client.ask("PING")
    with pytest.raises(GuardBroken, match="AttributeError"):
        guard.stop()


def test_a_pipeline_comes_back_in_its_order_whatever_is_in_it(client):
    one = client().fill()
    key = f"{one.name}:n"
    commands = []
    for n in range(30):
        commands += [
            ("SET", key, n),
            ("GET", key),
            ("FT.SEARCH", one.name, KNN, *ASKED),
            ("INFO", "server"),
            ("INCR", key),
        ]
    replies = one.ask_all(commands)
    assert [(int(got), more) for got, more in zip(replies[1::5], replies[4::5], strict=True)] == [
        (n, n + 1) for n in range(30)
    ]
    assert all(reply[0] == 3 for reply in replies[2::5])
    one._socket.sendall(command("GET", key) + command("NOPE") + command("CONFIG") + command("GET", key))
    wait_until(lambda: len(one.guard.journal) and one.guard.journal.since(0)[-1].name == "GET", "all have come")
    assert [type(one._receive()).__name__ for _ in range(4)] == ["bytes", "Failure", "Failure", "bytes"]


@pytest.mark.parametrize("sent", [b"PING\r\n", b"*0\r\n", b"*1\r\n:1\r\n", b"$4\r\nPING\r\n", b"%1\r\n", b"*x\r\n"])
def test_what_is_no_command_ends_the_connection(client, sent):
    one = client()
    one._socket.sendall(sent)
    with pytest.raises(ConnectionError):
        one._receive()
    with client(before=one.guard) as other:
        assert other.ask("PING") == b"PONG"


def test_guards_leave_no_thread_behind(engine):
    before = set(threading.enumerate())
    with Guard(engine) as guard, Client(guard, "t") as client:
        client.ask("PING")
        guard.index_lag_seconds = 1
    assert set(threading.enumerate()) <= before
