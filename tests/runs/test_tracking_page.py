"""The page that people compare runs on, in a browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from whole_runs import Command, TrackingServer, run_id, small

pytestmark = pytest.mark.slow
Shown = Callable[..., str]  # address of a page, texts to wait for -> all of its text


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
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
    options.add_argument("--window-size=3000,1200")  # tables show what fits alone
    options.binary_location = "/usr/bin/chromium"
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


@pytest.fixture
def shown(browser) -> Shown:
    """The text of a page, once it holds all of some texts."""
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.support.ui import WebDriverWait

    def text() -> str:
        return browser.find_element("tag name", "body").text

    def show(url: str, *texts: str) -> str:
        browser.get("about:blank")
        browser.get(url)
        try:
            WebDriverWait(browser, 90).until(lambda _: all(each in text() for each in texts))
        except TimeoutException:
            raise AssertionError(
                f"{[each for each in texts if each not in text()]}: {text()}"
            ) from None
        return text()

    return show


@pytest.mark.long
def test_the_tracking_page_shows_a_sweeps_jobs_under_it_and_compares_them(
    shown: Shown, launch: Command, few_digits: Path
) -> None:
    with TrackingServer(launch.folder) as server:
        settings = (*small(few_digits), f"tracking.uri={server.uri}", "hydra.sweep.dir=sweep")
        done = launch("-m", *settings, "optimizer.layer_decay=0.65,0.75")
        assert done.returncode == 0, done.stdout + done.stderr
        client = server.client()
        experiment = client.get_experiment_by_name("beit").experiment_id
        runs = client.search_runs([experiment])
        (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        children = [run for run in runs if run.info.run_id != parent.info.run_id]
        names = [f"layer_decay={decay}" for decay in (0.65, 0.75)]
        overview = shown(
            f"{server.uri}/#/experiments/{experiment}/runs/{parent.info.run_id}",
            "Child runs",
            *names,
        )
        assert "best/val/top1" in overview and "beit_exp.best_run_id" in overview
        ids = json.dumps([run.info.run_id for run in children])
        compared = shown(
            f"{server.uri}/#/compare-runs?runs={ids}&experiments={json.dumps([experiment])}",
            "best/val/top1",
            *names,
        )
        for child in children:
            assert child.data.params["optimizer.layer_decay"] in compared
            assert f"{child.data.metrics['val/top1']:g}" in compared


@pytest.mark.long
def test_the_tracking_page_shows_the_model_and_the_evaluation_of_a_training(
    browser, shown: Shown, launch: Command, few_digits: Path
) -> None:
    with TrackingServer(launch.folder) as server:
        settings = (*small(few_digits), f"tracking.uri={server.uri}", "tracking.log_model=digits")
        done = launch(*settings, "tracking.run_name=trained", "hydra.run.dir=run")
        assert done.returncode == 0, done.stdout + done.stderr
        done = launch("task=evaluate", "checkpoint=run", "hydra.run.dir=evaluation")
        assert done.returncode == 0, done.stdout + done.stderr
        client, training = server.client(), run_id(launch.folder / "run")
        best = f"{client.get_run(training).data.metrics['best/val/top1']:g}"
        experiment = client.get_experiment_by_name("beit").experiment_id
        place = f"{server.uri}/#/experiments/{experiment}"

        shown(f"{place}/models", "beit_micro", "Model training")
        browser.find_element("xpath", "//*[text()='Model training']").click()  # not GenAI
        models = shown(f"{place}/models", "beit_micro", "best/val/top1", "trained", "Ready")
        assert best in models.splitlines() and "No dataset" not in models
        shown(f"{server.uri}/#/models/digits/versions/1", "Inputs (2)", "Outputs (10)")
        shown(f"{place}/runs/{training}", "Child runs", "evaluate run evaluation", "digits")
        evaluation = run_id(launch.folder / "evaluation")
        shown(f"{place}/runs/{evaluation}", "Parent run", "trained", "val/top1")
