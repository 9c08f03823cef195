from __future__ import annotations

import json
from pathlib import Path

import pytest
from whole_runs import write_run


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    """Three finished jobs, one still at work, one that never started."""
    for decay, top1 in ((0.65, (50.0, 70.0)), (0.75, (60.0, 80.0, 75.0)), (0.85, (40.0,))):
        folder = tmp_path / "sweep" / f"optimizer.layer_decay={decay}"
        (folder / "plots").mkdir(parents=True)
        write_run(
            folder,
            f"optimizer.layer_decay={decay}",
            "tracking.run_name=x",
            top1=top1,
            is_done=decay != 0.85,
        )
    refused = tmp_path / "sweep" / "optimizer.layer_decay=2"
    refused.mkdir()
    (refused / "failed.json").write_text(
        json.dumps({"exit_status": 2, "message": "1 setting is wrong:\n  x"})
    )
    return tmp_path / "sweep"


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    """A sweep of two groups with two seeds each."""
    folder = tmp_path / "groups"
    folder.mkdir()
    keys = ["optimizer", "augment", "seed"]
    (folder / "sweep.json").write_text(json.dumps({"swept": keys}))
    for optimizer, top1 in (("adamw", 80.0), ("momentum", 70.0)):
        for augment, loss in (("light", 0.0), ("none", 10.0)):
            for seed in (1, 2):
                values = zip(keys, (optimizer, augment, seed), strict=True)
                overrides = [f"{key}={value}" for key, value in values]
                job = folder / ",".join(overrides)
                (job / "plots").mkdir(parents=True)
                best = top1 - loss + 2 * (seed - 1)
                write_run(job, *overrides, top1=(best - 20, best))
    return folder


@pytest.fixture
def browser(tmp_path: Path):
    """Debian's Chromium without a screen: packages chromium and chromium-driver."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in ("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-sync"):
        options.add_argument(f"--{flag}")
    options.add_argument("--disable-background-networking")
    options.add_argument(f"--user-data-dir={tmp_path / 'browser'}")
    options.binary_location = "/usr/bin/chromium"
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()
