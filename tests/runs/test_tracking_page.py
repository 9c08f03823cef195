"""The page that people compare runs on, in a browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from whole_runs import Command, TrackingServer, small

pytestmark = pytest.mark.slow


@pytest.fixture
def browser(tmp_path: Path):
    """Debian's Chromium without a screen: packages chromium and chromium-driver."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-sync",
    ):
        options.add_argument(f"--{flag}")
    for flag in (
        "disable-background-networking",
        "disable-component-update",
        f"user-data-dir={tmp_path / 'browser'}",
    ):
        options.add_argument(f"--{flag}")
    options.add_argument("--window-size=1600,1200")
    options.binary_location = "/usr/bin/chromium"
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


def test_the_tracking_page_shows_a_sweeps_jobs_under_it_and_compares_them(
    browser, launch: Command, few_digits: Path
) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    def shown(url: str, *texts: str) -> str:
        """The text of a page, once it holds all of some texts."""
        browser.get("about:blank")
        browser.get(url)
        wait = WebDriverWait(browser, 60)
        wait.until(
            lambda page: all(text in page.find_element("tag name", "body").text for text in texts)
        )
        return browser.find_element("tag name", "body").text

    with TrackingServer(launch.folder) as server:
        settings = (*small(few_digits), f"tracking.uri={server.uri}", "hydra.sweep.dir=sweep")
        done = launch("-m", *settings, "optimizer.layer_decay=0.65,0.75")
        assert done.returncode == 0, done.stdout + done.stderr
        client = server.client()
        experiment = client.get_experiment_by_name("beit").experiment_id
        runs = client.search_runs([experiment])
        (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        children = [run for run in runs if run.info.run_id != parent.info.run_id]
        names = [f"optimizer.layer_decay={decay}" for decay in (0.65, 0.75)]
        overview = shown(
            f"{server.uri}/#/experiments/{experiment}/runs/{parent.info.run_id}",
            "Child runs",
            *names,
        )
        assert "best/val/top1" in overview and "beit_exp.best_run_id" in overview
        ids = json.dumps([run.info.run_id for run in children])
        compared = shown(
            f"{server.uri}/#/compare-runs?runs={ids}&experiments={json.dumps([experiment])}",
            "val/top1",
            *names,
        )
        for child in children:
            assert child.data.params["optimizer.layer_decay"] in compared
            assert f"{child.data.metrics['val/top1']:g}" in compared
