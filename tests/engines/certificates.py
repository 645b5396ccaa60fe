"""A throw-away authority and a server certificate for localhost and 127.0.0.1."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificates:
    authority: Path  # what a client is told to trust
    server: Path  # the server's certificate and key, one file

    @classmethod
    def make(cls, folder: Path, *names: str) -> "Certificates":
        """``names``: whom the server claims to be; localhost and 127.0.0.1 unless told otherwise."""
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        made = cls(folder / "authority.pem", folder / "server.pem")
        authority.cert_pem.write_to_path(str(made.authority))
        authority.issue_cert(*(names or ("localhost", "127.0.0.1"))).private_key_and_cert_chain_pem.write_to_path(
            str(made.server)
        )
        return made

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server)
        return context
