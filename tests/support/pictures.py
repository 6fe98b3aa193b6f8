"""Take the pictures of the README, with Chromium: `make pictures`.

python -m tests.support.pictures data/pictures/current
"""

import io
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from PIL import Image
from selenium.webdriver.support.wait import WebDriverWait
from skimage import data

from pipeline.prediction import demo
from tests.support.browser import chromium, resize
from tests.support.commands import ROOT

PICTURES = ROOT / "docs/pictures"
SIZE = (1000, 860)  # pixels
_COLOURS = 128  # so that each file is small


def main(model: Path) -> None:
    """Write evaluation.png and demo.png.

    Args:
        model: folder of a model trained on the sample photos.
    """
    server = demo._server(demo.application(model), 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with chromium() as browser, tempfile.TemporaryDirectory() as directory:
        resize(browser, *SIZE)
        browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        browser.get((model / "report.html").absolute().as_uri())
        _save(browser, PICTURES / "evaluation.png")
        photo = Path(directory, "cat.jpg")
        Image.fromarray(data.chelsea()).save(photo)
        browser.get(f"http://{demo.HOST}:{server.server_port}")
        browser.find_element("id", "file").send_keys(str(photo))
        WebDriverWait(browser, 30).until(
            lambda page: page.find_elements("css selector", "#answers li")
        )
        _save(browser, PICTURES / "demo.png")
    server.shutdown()


def _save(browser: Any, path: Path) -> None:
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    picture.quantize(_COLOURS).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
