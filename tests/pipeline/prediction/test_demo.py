"""The page that tells what is on a photo: its answers, and how it works in a browser."""

import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.prediction import demo
from tests.support.photos import PhotoMaker

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--window-size=900,900",
)


@pytest.fixture(scope="module")
def client(colours: Path) -> Any:
    return demo.application(colours).test_client()


def test_a_photo_is_answered_best_class_first(
    client: Any, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    photo = make_photo(tmp_path / "photo.webp", hue=2)
    answers = client.post("/classify", data=photo.read_bytes()).json["answers"]
    assert answers[0]["label"] == "blue"
    assert sum(answer["score"] for answer in answers) == pytest.approx(1)


def test_an_unknown_photo_gets_a_warning(
    choosy: Path, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    client = demo.application(choosy).test_client()
    Image.new("RGB", (20, 20), (255, 255, 255)).save(tmp_path / "white.png")
    answered = client.post("/classify", data=(tmp_path / "white.png").read_bytes()).json
    assert answered["warning"] == "This does not look like any of the 3 classes."
    familiar = make_photo(tmp_path / "photo.png", hue=1).read_bytes()
    assert client.post("/classify", data=familiar).json["warning"] == ""


def test_a_newly_promoted_model_answers(colours: Path, choosy: Path, tmp_path: Path) -> None:
    white, current = io.BytesIO(), tmp_path / "current"
    Image.new("RGB", (20, 20), (255, 255, 255)).save(white, "PNG")
    current.symlink_to(colours)
    client = demo.application(current).test_client()
    assert client.post("/classify", data=white.getvalue()).json["warning"] == ""
    current.unlink()
    current.symlink_to(choosy)
    assert client.post("/classify", data=white.getvalue()).json["warning"] != ""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"no photo", "not a readable image"),
        (b"<html>", "web page instead of a photo"),
    ],
)
def test_what_is_no_photo_is_refused(client: Any, content: bytes, reason: str) -> None:
    answered = client.post("/classify", data=content)
    assert answered.status_code == 422
    assert answered.json["error"].startswith(reason)


def test_a_photo_that_training_sets_aside_is_refused(client: Any) -> None:
    file = io.BytesIO()
    Image.effect_noise((20, 20), 50).convert("RGB").quantize(256).save(file, "BMP")
    answered = client.post("/classify", data=file.getvalue())
    assert "BMP with a palette is not supported" in answered.json["error"]


def test_the_page_loads_nothing_from_elsewhere(client: Any) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "red" in page.text
    assert "https://" not in page.text
    assert "http://" not in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")


@pytest.mark.slow
def test_no_model_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.prediction.demo", "--model", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"there is no model in .*\n", done.stderr)


@pytest.fixture(scope="module")
def address(colours: Path) -> Iterator[str]:
    command = [
        sys.executable,
        "-m",
        "pipeline.prediction.demo",
        "--model",
        str(colours),
        "--port",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        output = process.stdout.readline()
        yield re.findall(r"http://127\.0\.0\.1:\d+", output)[0]
        process.terminate()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    if not CHROMIUM or not DRIVER:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def shown(browser: Any) -> list[str]:
    """The labels on the page, once they are there."""
    from selenium.webdriver.support.wait import WebDriverWait

    def labels(driver: Any) -> list[str]:
        return [e.text for e in driver.find_elements("css selector", "#answers span")]

    return WebDriverWait(browser, 20).until(labels)


@pytest.mark.slow
def test_a_chosen_photo_shows_its_classes(
    browser: Any, address: str, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    browser.get(address)
    photo = make_photo(tmp_path / "photo.jpg", hue=1, size=(320, 240))
    browser.find_element("id", "file").send_keys(str(photo))
    assert shown(browser)[0] == "green"
    assert browser.find_element("id", "photo").is_displayed()
    shares = [e.text for e in browser.find_elements("css selector", "#answers output")]
    assert sum(float(share.rstrip(" %")) for share in shares) == pytest.approx(100, abs=0.3)
    assert not [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]


@pytest.mark.slow
def test_a_dropped_photo_shows_its_classes_and_what_is_none_a_message(
    browser: Any, address: str, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    drop = """
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(arguments[0])], "photo"));
        document.dispatchEvent(new DragEvent("drop", { dataTransfer: data }));
    """
    browser.get(address)
    photo = make_photo(tmp_path / "photo.png", hue=2)
    browser.execute_script(drop, list(photo.read_bytes()))
    assert shown(browser)[0] == "blue"
    browser.execute_script(drop, list(b"no photo"))
    from selenium.webdriver.support.wait import WebDriverWait

    message = browser.find_element("id", "message")
    WebDriverWait(browser, 20).until(lambda _: "not a readable image" in message.text)
    assert not browser.find_elements("css selector", "#answers li")
