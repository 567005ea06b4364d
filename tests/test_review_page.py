"""The page of a review in a real browser, by keyboard and mouse, and the file it downloads."""

import csv
import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saner_jax.cli import main
from saner_jax.data import correct_labels, load

NAMES = ("cat", 'dog, "small"', "</script><b>bird", "grüne Äpfel")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos of four colors, a third of them with another label, and their true classes."""
    root = tmp_path_factory.mktemp("review") / "photos.npz"
    rng = np.random.default_rng(0)
    truth = np.arange(160) % 4
    colors = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [180, 180, 60]])
    images = colors[truth][:, None, None] + rng.normal(0, 25, (160, 20, 20, 3))
    labels = truth.copy()
    wrong = rng.choice(160, 40, replace=False)
    labels[wrong] = (truth[wrong] + rng.integers(1, 4, 40)) % 4
    arrays = {"train_images": np.clip(images, 0, 255).astype(np.uint8), "train_labels": labels}
    np.savez(root, **arrays, class_names=np.array(NAMES))
    folder = root.parent / "found"
    given = ["--dataset", str(root), "--features", "pixels", "--output-folder", str(folder)]
    assert main(["suspects", *given]) == 0
    return root, folder, truth


@pytest.fixture
def browser(tmp_path):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("Chromium and its driver are not installed")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--window-size=1200,900", f"--user-data-dir={tmp_path / 'profile'}"),
    ):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    started = webdriver.Chrome(options=options, service=service)
    yield started
    started.quit()


def wait_for(path, seconds=20):
    for _ in range(10 * seconds):
        if path.exists():
            return path
        time.sleep(0.1)
    raise AssertionError(f"{path} did not appear")


def requests_of(browser):
    """Return the addresses that the page asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [one for one in messages if one["method"] == "Network.requestWillBeSent"]
    return [one["params"]["request"]["url"] for one in sent]


@pytest.mark.slow
def test_twenty_decisions_become_labels(photos, browser, tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.select import Select

    root, folder, truth = photos
    address = (folder / "review.html").as_uri()
    browser.get(address)
    cards = browser.find_elements(By.TAG_NAME, "article")
    assert len(cards) == 40
    assert all(
        image.get_property("naturalWidth") == 20
        for image in browser.find_elements(By.TAG_NAME, "img")
    )
    press = lambda key: browser.switch_to.active_element.send_keys(key)
    # By keyboard: eight suggestions, three kept, two excluded, one taken back.
    for key in "ssssssssk" + "kkxx":
        press(key)
    press(Keys.ARROW_LEFT)
    press("u")
    # By mouse: five suggestions, and another class twice.
    into_view = "arguments[0].scrollIntoView({block: 'center'})"
    for card in cards[13:18]:
        browser.execute_script(into_view, card)
        card.find_element(By.CSS_SELECTOR, "button[data-what=suggested]").click()
    for card in cards[18:20]:
        browser.execute_script(into_view, card)
        Select(card.find_element(By.TAG_NAME, "select")).select_by_index(1)
    browser.execute_script(into_view, cards[12])
    cards[12].find_element(By.CSS_SELECTOR, "button[data-what=keep]").click()
    progress = browser.find_element(By.ID, "progress").text
    assert progress == "20 of 40 decided"

    # All of it is there after the page is loaded again.
    browser.get("about:blank")
    browser.get(address)
    assert browser.find_element(By.ID, "progress").text == "20 of 40 decided"
    browser.find_element(By.ID, "open").click()
    shown = [card for card in browser.find_elements(By.TAG_NAME, "article") if card.is_displayed()]
    assert len(shown) == 20
    browser.find_element(By.ID, "download").click()
    reviewed = wait_for(tmp_path / "reviewed.csv")
    # What begins with chrome are the browser's own pages.
    kinds = {asked.split(":")[0] for asked in requests_of(browser)}
    assert kinds <= {"file", "data", "about", "blob", "chrome", "chrome-untrusted"}
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]

    with (folder / "suspects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with reviewed.open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["key"] for row in read] == [row["key"] for row in rows]
    decisions = [row["decision"] for row in read]
    suggested = [row["suggested_name"] for row in rows]
    given = [row["given_name"] for row in rows]
    assert decisions[:8] == suggested[:8]
    assert decisions[8:11] == given[8:11]
    assert decisions[11] == "exclude"
    assert decisions[12] == given[12]
    assert decisions[13:18] == suggested[13:18]
    for at in (18, 19):
        assert decisions[at] in set(NAMES) - {given[at], suggested[at]}
    assert not any(decisions[20:])

    labels = tmp_path / "labels.csv"
    assert main(["relabel", str(reviewed), "--output-file", str(labels)]) == 0
    corrected = correct_labels(load(root), labels)
    assert len(corrected.train_labels) == 159
    place = {key: at for at, key in enumerate(corrected.train_keys.tolist())}
    for row, decision in zip(rows[:20], decisions, strict=False):
        if decision != "exclude":
            label = corrected.train_labels[place[row["key"]]]
            assert corrected.class_names[label] == decision
    right = [NAMES[truth[int(row["key"])]] == row["suggested_name"] for row in rows[:20]]
    assert sum(right) >= 19


@pytest.mark.slow
def test_the_page_fits_a_phone(photos, browser, tmp_path):
    from selenium.webdriver.common.by import By

    browser.set_window_size(500, 900)
    browser.get((photos[1] / "review.html").as_uri())
    width = browser.execute_script("return document.documentElement.scrollWidth")
    assert width <= browser.execute_script("return window.innerWidth")
    browser.save_screenshot(str(tmp_path / "phone.png"))
    with Image.open(tmp_path / "phone.png") as picture:
        assert picture.height > 600
    assert browser.find_element(By.TAG_NAME, "article").is_displayed()


@pytest.mark.slow
def test_the_page_holds_what_it_shows(photos):
    """Without a browser: nothing is asked for elsewhere, and names cannot end the script."""
    text = (photos[1] / "review.html").read_text()
    assert "@" not in re.sub(r"data:image[^\"]*|@media", "", text)
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert text.count("</script>") == 2
    found = re.search(r'<script type="application/json" id="data">(.*)</script>', text)
    assert found is not None
    data = json.loads(found[1])
    assert data["class_names"] == list(NAMES)
    assert len(data["rows"]) == 160
    assert len(data["suspects"]) == 40
    for suspect in data["suspects"]:
        assert suspect["image"].startswith("data:image/png;base64,")
        assert all(str(one) in data["images"] for one in suspect["alike"])


@pytest.mark.slow
def test_rows_of_a_table_are_shown_by_their_values(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    with Path("table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["length", "width", "label"])
        for at in range(60):
            writer.writerow([*np.round(rng.normal(at % 2 * 5, 1, 2), 3), f"kind {at % 2}"])
    given = "--dataset table.csv --output-folder s --pictured 3"
    assert main(["suspects", *given.split()]) == 0
    found = re.search(r'id="data">(.*)</script>', Path("s/review.html").read_text())
    assert found is not None
    data = json.loads(found[1])
    assert data["feature_names"] == ["length", "width"]
    assert len(data["suspects"]) == 3
    assert len(data["suspects"][0]["values"]) == 2
