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
