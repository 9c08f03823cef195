"""What the documents promise of runs that survive, and the tests that prove it."""

from __future__ import annotations

import re

import pytest
from documents import english_text
from settings import ROOT

PROMISES = {  # by what happens, as the documents' table has it
    "SIGTERM, Ctrl-C, a closed terminal, the launcher dies": (
        "attack/test_fault_matrix.py::test_a_run_struck_by_a_fault_ends_as_one_that_was_not",
        "runs/test_resuming.py::test_a_terminal_that_closes_or_sends_ctrl_c_ends_a_run_in_order",
        "runs/test_kills.py::test_a_worker_ends_and_saves_when_its_launcher_is_killed",
        "train/test_stop.py::test_a_second_ctrl_c_acts_at_once_and_a_second_sigterm_never",
        "train/test_stop.py::test_the_third_ctrl_c_ends_the_process",
    ),
    "the same to a sweep, also of jobs at once": (
        "runs/test_sweeps.py"
        "::test_a_stopped_sweep_starts_no_further_job_and_goes_on_when_started_again",
        "runs/test_kills.py::test_jobs_at_once_end_and_save_when_their_launcher_is_killed",
        "launch/test_at_once.py::test_a_sweep_that_is_stopped_waits_until_its_jobs_have_saved",
    ),
    "a signal when all is done": (
        "test_worker.py::test_a_signal_after_the_work_leaves_the_run_done_and_the_store_complete",
        "hardware/test_process.py"
        "::test_a_signal_as_the_worker_is_done_ends_a_sweep_and_is_no_failure_of_a_run",
    ),
    "SIGTERM, Ctrl-C before the first step": (
        "attack/test_fault_matrix.py::test_a_run_struck_by_a_fault_ends_as_one_that_was_not",
        "hardware/test_process.py::test_a_signal_waits_until_a_worker_listens",
        "test_worker.py::test_a_worker_whose_launcher_is_gone_ends_before_it_begins",
    ),
    "SIGKILL, power loss": (
        "runs/test_kills.py::test_a_run_killed_at_any_moment_resumes_to_the_same_end",
        "runs/test_kills.py::test_a_run_killed_two_hundred_times_ends_as_one_never_killed",
        "tasks/test_finetune.py::test_records_are_on_disk_before_a_checkpoint_counts_them",
    ),
    "a damaged checkpoint, be it one bit of its tensors, shapes or state": (
        "runs/test_kills.py"
        "::test_a_damaged_newest_checkpoint_costs_only_the_steps_since_the_one_before",
        "train/test_checkpoint.py"
        "::test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_used",
        "attack/test_parsers.py::test_thousands_of_wrong_files_are_read_or_refused",
    ),
    "a damaged line of `metrics.jsonl`": (
        "tracking/test_records.py"
        "::test_a_damaged_line_is_told_once_and_later_ones_keep_their_numbers",
    ),
    "a full disk": (
        "runs/test_faults.py::test_a_full_disk_keeps_the_last_good_checkpoint",
        "runs/test_faults.py::test_a_wholly_full_disk_is_one_message",
        "launch/test_job.py::test_a_full_disk_does_not_hide_how_a_worker_ended",
    ),
    "a damaged file of a sweep's finished job": (
        "launch/test_job.py::test_a_job_whose_result_is_damaged_is_done_again",
        "launch/test_sweep.py"
        "::test_a_damaged_file_of_a_job_costs_the_sweep_its_report_and_is_named",
    ),
    "the run directory is moved or deleted": (
        "tracking/test_tracker.py::test_a_run_whose_directory_is_gone_says_so_and_makes_no_other",
        "attack/test_fault_matrix.py::test_a_run_struck_by_a_fault_ends_as_one_that_was_not",
    ),
    "the same command typed twice": (
        "launch/test_job.py::test_a_second_command_leaves_a_run_at_work_alone",
        "launch/test_job.py::test_a_worker_refused_by_another_marks_nothing",
    ),
    "gradients overflow": (
        "train/test_step.py::test_an_overflow_changes_nothing_but_the_scale",
        "train/test_cells.py::test_an_overflow_that_saturates_is_skipped_and_lowers_the_scale",
    ),
    "not finite at a loss scale of 1, or `hardware.max_skipped_steps` in a row": (
        "runs/test_faults.py"
        "::test_diverged_training_stops_with_its_steps_and_its_last_good_checkpoint",
    ),
    "an unreadable training image": (
        "runs/test_faults.py::test_bad_images_stop_a_run_or_are_replaced_and_counted",
        "data/test_build.py::test_an_unreadable_training_image_stops_with_its_name",
    ),
    "an unreadable validation image": (
        "runs/test_faults.py::test_a_bad_validation_image_is_never_left_out",
    ),
    "the tracking or object store is gone": (
        "runs/test_object_storage.py::test_a_store_that_goes_away_costs_no_checkpoint",
        "tracking/test_mlflow_sink.py"
        "::test_a_store_that_cannot_be_reached_costs_nothing_but_a_warning",
        "tracking/test_mlflow_sink.py::test_what_a_store_missed_is_sent_once",
    ),
    "one of several processes dies": (
        "runs/test_several_processes.py::test_a_killed_rank_ends_the_job_with_one_message",
    ),
}


def test_every_promise_has_tests_that_prove_it() -> None:
    table = english_text().partition("| what happens | what a run does |\n")[2].partition("\n\n")[0]
    promised = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[1:]]
    assert promised == list(PROMISES)


@pytest.mark.parametrize("test", sorted({test for tests in PROMISES.values() for test in tests}))
def test_a_test_that_proves_a_promise_is_there(test: str) -> None:
    path, _, name = test.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / "tests" / path).read_text(), re.MULTILINE)
