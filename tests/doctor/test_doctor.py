"""All checks together, and one that cannot look."""

from pathlib import Path

from catlipctl import doctor
from catlipctl.doctor.check import Check


def test_all_checks_pass_where_the_tests_run(tmp_path: Path) -> None:
    diagnosis = doctor.examine(tmp_path)
    assert diagnosis.failed == []
    assert len({check.name for check in diagnosis.checks}) == len(diagnosis.checks)
    assert all(check.mend for check in diagnosis.checks if check.status != "ok")


def test_a_check_that_cannot_look_has_failed() -> None:
    def broken() -> Check:
        raise ImportError("libcudart.so.12: cannot open shared object file")

    check = doctor.guarded("devices", broken)
    assert check.status == "failed"
    assert "libcudart" in check.found
