"""The server of local pages."""

import pytest

from pipeline.errors import UserError
from pipeline.files import local_server


def test_a_port_in_use_is_named() -> None:
    app = local_server.import_flask().Flask("pipeline")
    server = local_server.create(app, 0)
    try:
        assert server.host == "127.0.0.1"
        with pytest.raises(UserError, match=f"port {server.server_port} is in use"):
            local_server.create(app, server.server_port)
    finally:
        server.server_close()
