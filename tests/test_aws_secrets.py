"""Secrets of Secrets Manager in front of a command: real botocore, and a stand-in for the service over HTTP."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from yamabiko.aws.secrets import from_secrets_manager, main, unsealed
from yamabiko.errors import ConfigurationError

SHOW = "import json, os, sys; json.dump(dict(os.environ), sys.stdout)"


NAMED = "arn:aws:secretsmanager:ap-northeast-1:111122223333:secret:{}"
TEXTS = {"signing": "one:c2VjcmV0", "tenants": 'unknown = "refuse"\n'}


class SecretsManager(BaseHTTPRequestHandler):
    """Answers GetSecretValue as the service does."""

    def do_POST(self):
        assert self.headers["X-Amz-Target"] == "secretsmanager.GetSecretValue"
        arn = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["SecretId"]
        name = arn.rpartition(":")[2]
        status, told = 200, {"ARN": arn, "Name": name}
        if name in TEXTS:
            told["SecretString"] = TEXTS[name]
        elif name == "binary":
            told["SecretBinary"] = "AA=="
        else:
            status, told = 400, {"__type": "ResourceNotFoundException", "Message": "it is not there"}
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *told):
        pass


@pytest.fixture(scope="module")
def service():
    server = ThreadingHTTPServer(("127.0.0.1", 0), SecretsManager)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield {
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": f"http://127.0.0.1:{server.server_address[1]}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "ap-northeast-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def arns():
    return {name: NAMED.format(name) for name in (*TEXTS, "binary")}


def run(environ, *command):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(
        [sys.executable, "-m", "yamabiko.aws.secrets", *command],
        env=kept | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_command_gets_its_secrets_and_not_where_they_came_from(service, arns, tmp_path):
    told = {
        "SECRETS": json.dumps({"YAMABIKO_SIGNING_KEYS": arns["signing"]}),
        "SECRET_FILES": json.dumps({"YAMABIKO_GATEWAY__TENANTS_PATH": arns["tenants"]}),
        "TMPDIR": str(tmp_path),
    }
    ran = run(service | told, sys.executable, "-c", SHOW)
    found = json.loads(ran.stdout)
    assert found["YAMABIKO_SIGNING_KEYS"] == "one:c2VjcmV0"
    path = Path(found["YAMABIKO_GATEWAY__TENANTS_PATH"])
    assert path.parent == tmp_path
    assert path.read_text(encoding="utf-8") == 'unknown = "refuse"\n'
    assert path.stat().st_mode & 0o777 == 0o600
    assert not {"SECRETS", "SECRET_FILES"} & found.keys()


def test_without_secrets_the_command_is_simply_run_and_its_status_is_ours():
    ran = run({}, sys.executable, "-c", "import sys; sys.exit(7)")
    assert (ran.returncode, ran.stderr) == (7, "")


def test_what_is_run_takes_its_own_arguments():
    ran = run({}, sys.executable, "-c", "import sys; print(sys.argv[1:])", "--stream", "a b")
    assert ran.stdout == "['--stream', 'a b']\n"


@pytest.mark.parametrize("said", ["nonsense", "[]", '{"NAME": 1}'])
def test_what_is_no_object_of_names_is_refused_by_its_variable(said):
    with pytest.raises(ConfigurationError, match="SECRETS must be a JSON object"):
        unsealed({"SECRETS": said}, lambda arn: arn, Path())


def test_a_secret_that_is_not_there_or_has_no_text_is_named_and_nothing_is_run(service, arns, monkeypatch):
    for name, value in service.items():
        monkeypatch.setenv(name, value)
    read = from_secrets_manager(service)
    assert read(arns["signing"]) == "one:c2VjcmV0"
    with pytest.raises(ConfigurationError, match=r"nobody can't be read: ResourceNotFoundException"):
        read("nobody")
    with pytest.raises(ConfigurationError, match="has no text: give it a value"):
        read(arns["binary"])


def test_a_service_that_can_not_be_reached_is_said(service, monkeypatch):
    for name, value in (service | {"AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://127.0.0.1:9"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(ConfigurationError, match="EndpointConnectionError"):
        from_secrets_manager(service)("any")


def test_no_command_is_an_error_that_says_so():
    with pytest.raises(ConfigurationError, match="name the command"):
        main([], {})
