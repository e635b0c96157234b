"""Who starts the processes of a run, and with what in the environment."""

import os
from pathlib import Path

from catlipctl.doctor.check import Check
from catlipctl.signals import HANDLED


def accelerate_configuration() -> Check:
    """A configuration of accelerate's that would quietly change a run under `accelerate launch`."""
    from accelerate.commands.config.config_args import default_config_file

    set_ = sorted(key for key in os.environ if key.startswith("ACCELERATE_"))
    if set_ and "WORLD_SIZE" not in os.environ:
        return Check(
            name="accelerate's configuration",
            status="warning",
            found=f"set in the environment: {', '.join(set_)}",
            mend="unset them, unless accelerate launch is to start the run",
        )
    if Path(default_config_file).is_file():
        return Check(
            name="accelerate's configuration",
            status="ok",
            found=f"{default_config_file}, in force under accelerate launch only",
        )
    return Check(name="accelerate's configuration", status="ok", found="none")


def launcher() -> Check:
    """Who started this process, and would it hand on the signals that save a run?"""
    if "WORLD_SIZE" not in os.environ:
        return Check(name="launcher", status="ok", found="none: --gpus N or --processes N start their own")
    found = f"rank {os.environ.get('RANK', '?')} of {os.environ['WORLD_SIZE']}"
    missing = {"RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"} - set(os.environ)
    if missing:
        mend = "start through torchrun, accelerate launch or --gpus N, or unset WORLD_SIZE"
        lacking = f"{found}, but without {', '.join(sorted(missing))}"
        return Check(name="launcher", status="failed", found=lacking, mend=mend)
    # torchrun puts its own choice here; its default leaves SIGUSR1 out and dies of it.
    handled = os.environ.get("TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGHUP,SIGQUIT")
    wanted = [number.name for number in HANDLED]
    lost = [name for name in wanted if name not in handled.split(",")]
    if "TORCHELASTIC_RUN_ID" in os.environ and lost:
        return Check(
            name="launcher",
            status="warning",
            found=f"{found} under torchrun, which hands on {handled} but not {','.join(lost)}",
            mend=f"torchrun --signals-to-handle {','.join(wanted)} (catlipctl pretrain --print-launch)",
        )
    return Check(name="launcher", status="ok", found=found)
