"""Do a study's runs as jobs of a cluster by submitit: resources, submission, states, requeueing, failures."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from filelock import FileLock, Timeout
from pydantic import AfterValidator, Field

from benchmark.base import declared, project
from benchmark.base.declared import Name, Record
from benchmark.base.files import write_json, write_text
from benchmark.base.records import InputError, Run, number_of
from benchmark.studies import bundle, execute, store
from benchmark.studies.execute import Outcome

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

POLL_S = 5.0
"""Seconds between two looks at the queue."""

SETTLE_S = 90.0
"""Seconds for which a run may turn out to be done after its job has left the queue: NFS shows a file up to 60 s after
another machine wrote it."""

PATIENCE_S = 60.0
"""Seconds to wait for another command that submits."""

HELD = ("queued", "running")
"""States of a run that a job holds."""

NOTICE_S = 90
"""Seconds before its time limit at which a job is told, and requeues itself; less where the limit is short."""

ALIVE = (
    "PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING", "STAGE_OUT", "COMPLETING",
    "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD",
)  # fmt: skip
"""States of Slurm in which a job holds its run: it computes, or is going to; all others are ends."""

WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
"""Those of them in which it does not compute yet."""

ENDED = re.compile(r"\*\*\* JOB \d+ (.+?) \*\*\*|(Detected \d+ oom.kill.*)")
"""What Slurm writes into the log of a job that it ends, by an id of its own if that is of an array, or that takes more
memory than it asked for."""

DECIDED = {
    "array", "dependency", "error", "nodes", "ntasks", "ntasks-per-node", "open-mode", "output", "requeue",
    "no-requeue", "signal", "wrap",
}  # fmt: skip
"""Parameters of sbatch that this program decides."""

ENTRIES = {
    "partition": "partition", "time": "time", "mem": "memory", "cpus-per-task": "cpus", "gpus": "gpus",
    "gpus-per-node": "gpus", "gpus-per-task": "gpus",
}  # fmt: skip
"""Parameters of sbatch that have an entry of their own, and its name."""


def _free(parameters: dict[str, Any]) -> dict[str, Any]:
    for name in (name.lstrip("-").replace("_", "-") for name in parameters):
        if name in DECIDED:
            raise ValueError(f"expected no {name!r}, which this program decides")
        if name in ENTRIES:
            raise ValueError(f"expected {name!r} as the entry {ENTRIES[name]!r}")
    return parameters


class Resources(Record):
    """What a job asks for."""

    partition: Name | None = Field(None, description="Slurm's partition; its default one if left out.")
    time: int | None = Field(
        None, ge=1, description="Minutes after which a job ends, to be requeued and go on; `timeouts` times at most."
    )
    gpus: int | None = Field(None, ge=0, description="GPUs of a job; none if left out.")
    cpus: int | None = Field(None, ge=1, description="Processors of a job; 1 if left out.")
    memory: float | None = Field(None, gt=0, description="Memory of a job in GB; the partition's default if left out.")
    sbatch: Annotated[dict[Name, str | int | Literal[True]], AfterValidator(_free)] = Field(
        {},
        description='Other parameters of sbatch: `{"account": "glioma", "constraint": "a100"}`.',
    )


class Cluster(Resources):
    """Where the runs of a study are done as jobs, and what each of them asks for: ``cluster.json``."""

    cluster: Literal["slurm", "local"] = Field(
        "slurm", description="`local` does the same jobs on this machine, one after another."
    )
    time: int = Field(ge=1, description=str(Resources.model_fields["time"].description))
    timeouts: int = Field(10, ge=0, description="How often a run may go on after the time limit of a job.")
    at_once: int = Field(256, ge=1, description="Most jobs of an array at once.")
    setup: tuple[Name, ...] = Field((), description="Lines of shell before the job, such as `module load cuda`.")
    models: dict[Name, Resources] = Field(
        {}, description='What models need otherwise, by their names in tables: `{"nnunet": {"time": 2880}}`.'
    )

    def of(self, model: str) -> Resources:
        """What a job of a model asks for: each entry that the model has, and else that of all."""
        own = self.models[model].model_dump(exclude_unset=True) if model in self.models else {}
        whole = {**self.model_dump(include=set(Resources.model_fields)), **own}
        return Resources(**{**whole, "sbatch": {**self.sbatch, **own.get("sbatch", {})}})


class Job(Record):
    """Which job does a run, as its folder's ``job.json`` says it; ``id`` as submitit has it, with an array's index."""

    cluster: Literal["slurm", "local"]
    id: Name
    log: str


@dataclass(frozen=True)
class Array:
    """Runs that ask for the same and join the same runs, to be submitted as one array."""

    resources: Resources
    stages: tuple[str, ...]
    runs: list[Run]


@dataclass(frozen=True)
class RunState:
    """Where a run stands: "queued" or "running" while a job holds it, "failed" if it left no result, else as files say.

    ``why`` is Slurm's reason to wait, or the node.
    """

    run: Run
    state: str
    job: Job | None = None
    why: str = ""

    @property
    def of_job(self) -> str:
        """What there is to say of the job of a run that is not done; empty where it has none."""
        if self.job is None or self.state == "done":
            return ""
        return f"job {self.job.id}" + (f", {self.why or 'here'}" if self.state in HELD else " ended without a result")


@dataclass(frozen=True)
class Work:
    """What a job calls: it does one run by its command line, and is requeued with nothing to remember.

    All that a run goes on from is in its folder, where its training saves itself after every epoch.
    """

    run: Run
    words: tuple[str, ...]

    def __call__(self) -> None:
        """Do the run.

        Raises:
            InputError: if it fails, or was given to another job since.
        """
        from submitit import JobEnvironment

        here, held = JobEnvironment(), read_job(store.folder(self.run))
        if held is None:
            # The process that submitted this job has not noted it yet, or was killed before it could.
            _note(self.run, Job.model_validate(dict(cluster=here.cluster, id=here.job_id, log=str(here.paths.stdout))))
        elif held.id != here.job_id:
            raise InputError(f"Run {self.run.id} is held by job {held.id}: expected this job, {here.job_id}.")
        outcome = execute.do_alone(self.run, self.words)
        if outcome.state != "done":
            raise InputError(f"Run {self.run.id}: {outcome.error}")

    def checkpoint(self) -> DelayedSubmission:
        """Return what the requeued job calls."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def load(path: Path, models: Iterable[str]) -> Cluster:
    """Read a ``cluster.json``; ``models`` are those of the study that it is for.

    Raises:
        InputError: for an entry that is not as declared, or resources of a model that is neither the study's nor a
            bundle.
    """
    found = declared.read(path, Cluster, "what jobs of a cluster ask for")
    known = dict.fromkeys([*models, *bundle.names()])
    for name in found.models:
        if name not in known:
            raise InputError(f"{path}: models: expected some of {', '.join(known)}, found {name!r}.")
    return found


def arrays(runs: Sequence[Run], cluster: Cluster) -> list[Array]:
    """Group runs into arrays, those that join others after these."""
    found: list[Array] = []
    for run in itertools.chain(*execute.in_order(runs)):
        asked = cluster.of(run.model)
        alike = [array for array in found if (array.resources, array.stages) == (asked, run.stages)]
        if not alike:
            found += (alike := [Array(asked, run.stages, [])])
        alike[0].runs.append(run)
    return found


def read_job(place: Path) -> Job | None:
    """The job that a run was given last, as its folder says it; None if there was none."""
    path = place / "job.json"
    return declared.read(path, Job, "the job of a run") if path.exists() else None


def read_queue(text: str) -> dict[str, tuple[str, str]]:
    """Read lines ``id|state|reason`` of ``squeue``: state, and reason or node, of each job that holds its run."""
    rows = [line.strip().split("|", 2) for line in text.splitlines() if line.count("|") >= 2]
    return {job: (state, why.strip("()")) for job, state, why in rows if state in ALIVE}


def stand(runs: Sequence[Run]) -> list[RunState]:
    """Tell where runs stand: by the queue where a job holds them, else by their files.

    Raises:
        InputError: if the queue cannot be asked.
    """
    jobs = {run.id: read_job(store.folder(run)) for run in runs}
    # The queue first: a job that ends meanwhile has left its files by then.
    queue = _queue([job.id for job in jobs.values() if job and job.cluster == "slurm"])
    found = []
    for run in runs:
        job = jobs[run.id]
        state, why = queue.get(job.id, ("", "")) if job else ("", "")
        if job and not state and store.is_locked(run):
            state = "RUNNING"
        if state:
            found.append(RunState(run, "queued" if state in WAITING else "running", job, why))
        else:
            ended = store.state(run)
            found.append(RunState(run, "failed" if job and ended != "done" else ended, job))
    return found


def check_free(runs: Sequence[Run]) -> None:
    """Refuse runs that jobs hold, before this machine does them; what is on record of jobs that ended goes.

    Raises:
        InputError: naming the first, and its job.
    """
    for one in stand([run for run in runs if store.state(run) != "done"]):
        if one.state not in HELD:
            (store.folder(one.run) / "job.json").unlink(missing_ok=True)
        elif one.job:
            raise InputError(
                f"Run {one.run.id} is {one.state} as job {one.job.id}: expected no job to hold it; wait for it, or "
                "cancel it first."
            )


def do(
    runs: Sequence[Run], cluster: Cluster, words: Callable[[Run], list[str]], on_change: Callable[[Run, str], None]
) -> list[Outcome]:
    """Submit jobs and wait for them; return how each run ended.

    Raises:
        InputError: as ``submit``, and at an interrupt, which ends no job of Slurm.
    """
    try:
        submit(runs, cluster, words, on_change)
        return wait(runs, words, on_change)
    except KeyboardInterrupt:
        if cluster.cluster == "local":
            raise
        raise InputError(
            "Interrupted, jobs go on: expected to wait for them; repeat the command to do so, or add --collect to "
            "report what they have done."
        ) from None


def submit(
    runs: Sequence[Run],
    cluster: Cluster,
    words: Callable[[Run], list[str]],
    on_change: Callable[[Run, str], None],
) -> None:
    """Submit a job for each run that is not done and that no job holds; on this machine, do one after another.

    Raises:
        InputError: without submitit or Slurm, if sbatch refuses a job, or while another command submits.
    """
    study = runs[0].study
    _executor(cluster, study, cluster)
    try:
        # Held until all are submitted, so that a second command finds them.
        lock = FileLock(_jobs(study) / ".lock").acquire(timeout=PATIENCE_S)
    except Timeout as error:
        raise InputError(f"Another command submits runs of {study}: expected none; wait for it.") from error
    with lock:
        free, found = [], stand(runs)
        left = {store.folder(one.run) for one in found if one.state != "done"}
        for one in found:
            if one.job and one.state in HELD:
                print(f"{one.run.id} is {one.state} as job {one.job.id} and was not submitted again", flush=True)
            elif one.state != "done":
                free.append(one.run)
        for array in arrays(free, cluster):
            for some in [array.runs] if cluster.cluster == "slurm" else [[run] for run in array.runs]:
                _submit(some, cluster, array.resources, words, on_change, left)


def wait(
    runs: Sequence[Run],
    words: Callable[[Run], list[str]],
    on_change: Callable[[Run, str], None],
    every: float = POLL_S,
) -> list[Outcome]:
    """Look at the queue until nothing more is to be expected of any run; return how each ended. An interrupt ends no
    job."""
    gone: dict[str, float] = {}
    while True:
        try:
            found = stand(runs)
        except InputError as error:
            print(error, flush=True)  # a controller that restarts says nothing about jobs
        else:
            ended = [_has_ended(one, gone) for one in found]
            for one, at_end in zip(found, ended, strict=True):
                if at_end or one.state in HELD:
                    on_change(one.run, one.state if one.state != "pending" else "failed")
            if all(ended):
                return outcomes(found, words)
        time.sleep(every)


def _has_ended(one: RunState, gone: dict[str, float]) -> bool:
    """Whether nothing more is to be expected of a run; ``gone`` keeps since when no job holds one that left nothing."""
    if one.state in HELD:
        gone.pop(one.run.id, None)
        return False
    since = gone.setdefault(one.run.id, time.monotonic())
    elsewhere = one.job is not None and one.job.cluster == "slurm"
    return not elsewhere or store.state(one.run) in ("done", "failed") or time.monotonic() - since >= SETTLE_S


def outcomes(found: Sequence[RunState], words: Callable[[Run], list[str]]) -> list[Outcome]:
    """How runs ended that no job holds any more, each failure with the log that tells most of it."""
    ended = []
    for one in found:
        outcome = execute.outcome_of(one.run, words(one.run))
        if one.job and outcome.state != "done" and not (store.folder(one.run) / "error.txt").exists():
            log = Path(one.job.log)
            text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
            text = text.rpartition("Starting with JobEnvironment")[2]
            said = ENDED.findall(text)
            # A run that was refused ended by itself, and its own log says why. Else it was killed from outside, or is
            # out of time: Slurm or submitit wrote into the job's log why it was ended.
            if said or f"InputError: Run {one.run.id}: " not in text:
                why = f"Slurm says: {''.join(said[-1])}" if said else execute.last_line(log)
                error = f"job {one.job.id} ended without a result; {why}"
                outcome = replace(outcome, error=error, log=one.job.log)
        ended.append(outcome)
    return ended


def _submit(
    runs: Sequence[Run],
    cluster: Cluster,
    asked: Resources,
    words: Callable[[Run], list[str]],
    on_change: Callable[[Run, str], None],
    left: Collection[Path],
) -> None:
    """Submit runs as one array, or wait for the job of one on this machine; ``left`` are folders of unfinished runs."""
    from submitit.core.utils import FailedJobError

    # Not only after those that succeed: the run that joins others says itself which of them is not done.
    stages = [place for place in store.stage_folders(runs[0]) if place in left or not (place / "scores.csv").exists()]
    after = [job.id for place in stages if (job := read_job(place))]
    executor = _executor(cluster, runs[0].study, asked, after)
    paths = [store.folder(run) / name for run in runs for name in ("job.json", "error.txt")]
    before = {path: path.read_text(encoding="utf-8") for path in paths if path.exists()}
    for path in before:
        path.unlink()
    try:
        jobs = executor.submit_array([Work(run, tuple(words(run))) for run in runs])
    except FailedJobError as error:
        for path, text in before.items():
            write_text(path, text)
        said = [line for line in str(error).splitlines() if "error" in line] or [str(error)]
        raise InputError(f"Slurm refused the jobs of {runs[0].model}: {said[0].strip()}.") from error
    for run, job in zip(runs, jobs, strict=True):
        _note(run, Job(cluster=cluster.cluster, id=job.job_id, log=str(job.paths.stdout)))
        on_change(run, "queued" if cluster.cluster == "slurm" else "running")
        while cluster.cluster == "local" and not job.done():
            time.sleep(0.1)
    if cluster.cluster == "slurm":
        models = ", ".join(dict.fromkeys(run.model for run in runs))
        print(f"{number_of(len(runs), 'run')} of {models}: job {jobs[0].job_id.partition('_')[0]}", flush=True)


def _executor(cluster: Cluster, study: str, asked: Resources, after: Sequence[str] = ()) -> Any:
    """Return submitit's executor of jobs that ask for these resources and wait for the end of other jobs."""
    try:
        import submitit
    except ImportError as error:
        raise InputError("Jobs need submitit: expected it; pip install 'brain-tumor-benchmark[cluster]'.") from error
    limits = {f"{one}_max_num_timeout": cluster.timeouts for one in ("slurm", "local")}
    try:
        made = submitit.AutoExecutor(_jobs(study), cluster=cluster.cluster, **limits)
    except RuntimeError as error:
        raise InputError(f'{error}: expected the commands of Slurm here, or "cluster": "local".') from error
    minutes, cpus = asked.time or cluster.time, asked.cpus or 1
    made.update_parameters(
        name=study.replace("/", "-"),
        timeout_min=minutes,
        cpus_per_task=cpus,
        gpus_per_node=asked.gpus or None,
        mem_gb=asked.memory,
        stderr_to_stdout=True,
        slurm_partition=asked.partition,
        slurm_array_parallelism=cluster.at_once,
        slurm_signal_delay_s=min(NOTICE_S, 30 * minutes),
        slurm_dependency=f"afterany:{':'.join(after)}" if after else None,
        slurm_setup=list(cluster.setup),
        local_setup=list(cluster.setup),
        # A step has a single processor where nobody says it again, since Slurm 22.05.
        slurm_srun_args=[f"--cpus-per-task={cpus}"],
        slurm_additional_parameters={"requeue": True, **asked.sbatch},
    )
    return made


def _queue(ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Ask Slurm for jobs; none are alive where it is not installed, such as in a copy of the project elsewhere."""
    if not ids or shutil.which("squeue") is None:
        return {}
    jobs = ",".join(sorted({one.partition("_")[0] for one in ids}))
    command = ["squeue", "--noheader", "--array", f"--jobs={jobs}", "--format=%i|%T|%R"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # A single job that Slurm has forgotten is an error; several are not.
    if done.returncode and "Invalid job id" not in done.stderr:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise InputError(f"squeue does not answer: expected the states of jobs, found: {said[-1]}.")
    return read_queue(done.stdout)


def _jobs(study: str) -> Path:
    folder = project.runs() / study / ".jobs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _note(run: Run, job: Job) -> None:
    write_json(store.folder(run) / "job.json", job.model_dump())
