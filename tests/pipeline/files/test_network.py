"""Which setting keeps a server from being reached: real errors, from servers on loopback."""

import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests

from pipeline.files import network


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start an https server whose certificate nobody trusts; also write the latter to cert.pem."""
    monkeypatch.setenv("no_proxy", "localhost")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2"
    subject = " -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    try:
        words = (command + subject).split()
        subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign,assignment]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"https://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def reason(url: str) -> str:
    with pytest.raises(OSError) as caught:
        requests.get(url, timeout=10)
    return network.reason(caught.value)


def test_the_variable_for_a_private_authority_is_named(
    private: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reason(private) == (
        "its certificate is not trusted (self-signed certificate); if a private authority issued "
        "it, set REQUESTS_CA_BUNDLE to the file with the authority's certificate"
    )
    (tmp_path / "no.pem").touch()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "no.pem"))
    assert "REQUESTS_CA_BUNDLE names a file without certificates; correct it" in reason(private)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))
    assert requests.get(private, timeout=10).status_code == 501  # reached


def test_other_errors_have_other_reasons() -> None:
    assert network.reason(None) == ""
    assert network.reason(ConnectionRefusedError("Connection refused")) == ""
