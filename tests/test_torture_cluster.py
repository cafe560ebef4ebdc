"""The workflow on a real Slurm of one node, which is started here and ends with the test: only in `make torture`."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from test_torture_files import contents, rows

from elastic_lib.recipe.grid import grid
from elastic_lib.records.record import Record

ROOT = Path(__file__).parents[1]
DEBIAN = ("slurm-wlm", "munge")
CONF = """
ClusterName=torture
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={at}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={at}/state
SlurmdSpoolDir={at}/spool
SlurmctldPidFile={at}/slurmctld.pid
SlurmdPidFile={at}/slurmd.pid
SlurmctldLogFile={at}/slurmctld.log
SlurmdLogFile={at}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=2
UnkillableStepTimeout=600
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:1
PartitionName=main Nodes=ALL Default=YES
PartitionName=gpu Nodes=ALL
"""


def installed():
    """Whether Slurm is here, or could be put here."""
    if shutil.which("slurmctld") and shutil.which("munged"):
        return True
    if os.geteuid() or not shutil.which("apt-get"):
        return False
    apt = ["apt-get", "-qq", "-o", "Acquire::Retries=1", "install", "-y", "--no-install-recommends", *DEBIAN]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for first in (["true"], ["apt-get", "-qq", "update"]):
        subprocess.run(first, capture_output=True, timeout=300)
        if not subprocess.run(apt, capture_output=True, timeout=600, env=environment).returncode:
            return True
    return False


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def slurm(tmp_path_factory, torture, monkeypatch):
    """A cluster of this machine; its commands, run here, are sent to it."""
    if not torture.full:
        pytest.skip("a cluster is started in make torture alone")
    if os.geteuid() or not installed():
        pytest.skip(f"no Slurm here and none could be installed: as root, apt-get install {' '.join(DEBIAN)}")
    at = tmp_path_factory.mktemp("slurm")
    for folder in ("state", "spool"):
        (at / folder).mkdir()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 - 200
    said = dict(host=socket.gethostname().split(".")[0], controller=free_port(), node=free_port(), at=at, memory=memory)
    (at / "slurm.conf").write_text(CONF.format(**said, cpus=os.cpu_count()))
    (at / "gres.conf").write_text("Name=gpu File=/dev/null\n")  # which is as much of a GPU as a test of queues needs
    # Snakemake's plugin takes SLURM_CONF out of the environment of a job, whose srun would then look in /etc.
    srun = at / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={at}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{srun.parent}:{os.environ['PATH']}")
    (at / "munge.key").write_bytes(os.urandom(1024))
    (at / "munge.key").chmod(0o600)
    monkeypatch.setenv("SLURM_CONF", str(at / "slurm.conf"))
    munge = ["munged", "-F", "--force", f"--socket={at}/munge.socket", f"--key-file={at}/munge.key",
             f"--pid-file={at}/munge.pid", f"--log-file={at}/munge.log", f"--seed-file={at}/munge.seed"]  # fmt: skip
    daemons = []
    try:
        for command in (munge, ["slurmctld", "-D", "-c"], ["slurmd", "-D"]):
            with (at / "said").open("a") as log:
                daemons.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
            time.sleep(1.0)
        end = time.monotonic() + 120
        while "idle" not in ask("sinfo", "-h", "-o", "%T"):
            logs = "".join(path.read_text(errors="replace")[-1500:] for path in (at / "said", *at.glob("*.log")))
            assert time.monotonic() < end, f"the cluster does not start: {logs}"
            time.sleep(0.5)
        yield at
    finally:
        subprocess.run(["scancel", "--user", "root"], capture_output=True, timeout=60)
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(30)
            except subprocess.TimeoutExpired:
                daemon.kill()


def ask(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


def test_a_grid_goes_through_a_cluster_though_a_job_is_killed_and_another_requeued(slurm, made, tmp_path, torture):
    """Bases on the CPU partition, runs on that of the GPU, and the records are those of this machine, bit for bit."""
    profile = yaml.safe_load((ROOT / "papermill_runs" / "profiles" / "slurm" / "config.yaml").read_text())
    profile["default-resources"]["mem_mb"] = 1000
    profile["set-resources"]["run"] |= {"slurm_partition": "gpu", "gres": "'gpu:1'"}
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / "config.yaml").write_text(yaml.safe_dump(profile))
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    recipes = grid("sentiment", "smoke", 1, False)[:3]
    results = tmp_path / "papermill_runs" / "smoke"
    targets = [f"papermill_runs/smoke/records/{recipe.run_id}/status.json" for recipe in recipes]
    command = [sys.executable, "-m", "snakemake", "-s", ROOT / "papermill_runs" / "Snakefile", "-d", tmp_path]
    command += ["--profile", tmp_path / "profile", "--slurm-status-command", "squeue"]
    command += ["--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "20"]
    command += ["--config", "scale=smoke", "seeds=1", "--", *targets]
    with (tmp_path / "said").open("w") as log:
        workflow = subprocess.Popen([*map(str, command)], stdout=log, stderr=log, cwd=ROOT)
    done = {"killed": "", "requeued": ""}
    try:
        end = time.monotonic() + 1200
        while workflow.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
            deed = next((deed for deed, run_id in done.items() if not run_id), None)
            open_ones = [recipe for recipe in recipes if recipe.run_id not in done.values()]
            begun = next((r for r in open_ones if rows(Record.of(r, results)) > 0), None)
            if deed is None or begun is None or Record.of(begun, results).status().get("status") != "running":
                continue
            job = ask("squeue", "-h", "-t", "R", "-p", "gpu", "-o", "%i").split()  # one at a time: there is one GPU
            if not job:
                continue
            if deed == "killed":
                subprocess.run(["scancel", "--signal=KILL", "--full", job[0]], check=True)
            else:
                subprocess.run(["scontrol", "requeue", job[0]], check=True)
            done[deed] = begun.run_id
        said = (tmp_path / "said").read_text()
        assert workflow.poll() == 0, said[-3000:]
    finally:
        if workflow.poll() is None:
            workflow.terminate()
            workflow.wait(60)
    assert all(done.values()), f"nothing was {[deed for deed, run_id in done.items() if not run_id]}: {said[-3000:]}"
    for recipe in recipes:
        assert contents(Record.of(recipe, results)) == contents(made(recipe)), recipe.run_id
    torture.count("cluster", "Slurm: runs of a grid, one killed, one requeued", len(recipes), "0 lost, 0 other bits")
