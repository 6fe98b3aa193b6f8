"""The server of local pages."""

import pytest

from pipeline.errors import UserError
from pipeline.files import local_server


def test_a_port_in_use_is_one_message(capfd: pytest.CaptureFixture[str]) -> None:
    app = local_server.import_flask().Flask("pipeline")
    server = local_server.create(app, 0)
    try:
        assert server.host == "127.0.0.1"
        with pytest.raises(UserError, match=rf"port {server.server_port} .* in use; .*PORT="):
            local_server.create(app, server.server_port)
    finally:
        server.server_close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["99999", "65536", "-1", "abc", "", "8_0", "\u0663", "9" * 5000])
def test_an_impossible_port_is_one_message(text: str) -> None:
    with pytest.raises(UserError, match=r"is not a number from 1 to 65535; .*PORT="):
        local_server.parse_port(text)


def test_ports_are_numbers_and_0_is_any_free_one() -> None:
    assert [local_server.parse_port(text) for text in ("0", "1", "65535")] == [0, 1, 65535]
