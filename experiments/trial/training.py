"""What happens inside one trial: build, initialise, prepare, learn (evaluated on the grid), save, judge.

Training and evaluation share nothing but the policy: the same bits come out with and without evaluation.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from warmstart.agents.algorithms.base import SeamAgent
from warmstart.agents.algorithms.seams import EvaluationResult, Seams
from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.checkpoints.places import BEST, LAST
from warmstart.agents.checkpoints.policy import Policy
from warmstart.agents.evaluation import EvaluationCallback, evaluate
from warmstart.agents.extractors.seams import merge
from warmstart.agents.resuming.training_state import load_training_state, other_machine, training_state
from warmstart.agents.rewards.base import RewardLog
from warmstart.agents.settings.config import config_from_json
from warmstart.core.bounds import State
from warmstart.core.files import without_numpy, write_json
from warmstart.experiments.records.claims import Claim, ClaimedError
from warmstart.experiments.records.config import TrialConfig
from warmstart.experiments.records.recorder import Recorder
from warmstart.experiments.records.records import CURRICULUM, TRANSFER
from warmstart.experiments.records.status import StatusWriter
from warmstart.experiments.trial.drawn import DrawnRecorder
from warmstart.experiments.trial.identifying import identification_notes, identify_physics
from warmstart.experiments.trial.media import film
from warmstart.experiments.trial.observing import encoder_setup
from warmstart.experiments.trial.random_actions import evaluate_random
from warmstart.experiments.trial.resuming import StateKeeper, UnusableStateError, kept_states
from warmstart.experiments.trial.source import load_source, transfer_context
from warmstart.experiments.trial.worlds import TrialWorld, trial_reality
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.carry.source import source_notes
from warmstart.transfer.methods.fine_tuning import fit_within
from warmstart.transfer.table import make_method

Part = Callable[[BaseAlgorithm], Sequence[str]]
"""Something that is done with the agent once it has learnt; returns notes for the transfer report."""


def train(config: TrialConfig, directory: Path, status: StatusWriter, claim: Claim) -> None:
    """Run one trial from its start to its final checkpoint.

    Args:
        config: What to run.
        directory: Where it records.
        status: Where others see how far it is.
        claim: The held claim; losing it ends the trial, and so does its notice.

    Raises:
        ClaimedError: The claim was taken over by another process.
        DiskFullError: No space is left.
        WarmstartError: Source, task and method don't go together.
    """
    if config.kind not in ("random", "encoder", "identify"):
        _train_agent(config, directory, status, claim)
        return
    with closing(Recorder(directory, config, status)) as recorder:
        if config.kind == "random":
            evaluate_random(config, recorder, trial_reality(config, directory))
        elif config.kind == "encoder":
            from warmstart.experiments.trial.encoder_training import train_encoder  # few trials need it

            train_encoder(config, directory, recorder)
        else:
            identify_physics(config, directory, recorder)


def _train_agent(config: TrialConfig, directory: Path, status: StatusWriter, claim: Claim) -> None:
    """Train an agent, from where an earlier attempt was interrupted if there was one."""
    for state in chain(kept_states(directory), [None]):
        kept = None if state is None else state["recorder"]
        with closing(Recorder(directory, config, status, kept)) as recorder:
            try:
                _Training(config, directory, recorder, claim).run(state)
            except UnusableStateError as error:
                print(f"A kept training state can't be continued: {error}", flush=True)
                continue
            return


_CARRIED = ("evaluated", "best", "without_better", "stopped")


class _Training:
    """One agent's way through a trial."""

    def __init__(self, config: TrialConfig, directory: Path, recorder: Recorder, claim: Claim) -> None:
        self.config, self.directory, self.recorder, self.claim = config, directory, recorder, claim
        self.world = TrialWorld(config, directory)
        self.algorithm = config_from_json(config.algorithm)
        self.method, note = fit_within(make_method(dict(config.method)), config.steps, self.algorithm)
        self.source = load_source(config, directory)
        self.evaluated: dict[str, float] | None = None
        self.best = -math.inf
        self.without_better = 0
        self.stopped = ""
        self.encoder = encoder_setup(config, directory, self.source)
        identified = identification_notes(self.world.identified)
        self.notes = [*source_notes(self.source), *self.encoder.notes, *([note] if note else []), *identified]

    def run(self, state: State | None) -> None:
        """Build, initialise, prepare, learn, save, judge, and report what was done.

        Args:
            state: Of an earlier attempt, which is continued; None to begin.

        Raises:
            UnusableStateError: It can't be continued.
        """
        if state is None:
            self.recorder.start(self.source.steps if self.source is not None else 0)
        model = self._build()
        parts: list[Part] = [self.encoder.proof(model), self._save, self.world.divergence, self.world.judge]
        try:
            report = self.method.initialise(model, self.source, transfer_context(self.config))
            report.add_notes(self.notes)
            if self.method.trains:
                self._learn(model, report, state)
            else:
                self._evaluate_once(model)
            for part in (*parts, self._film):
                report.add_notes(part(model))
            write_json(self.directory / TRANSFER, report.to_json())
            constant, stopped = not self.method.trains, self.stopped
            self.recorder.end(self.config.steps, model.num_timesteps, constant=constant, stopped=stopped)
        finally:
            env = model.get_env()
            if env is not None:
                env.close()

    def _build(self) -> SeamAgent:
        config, drawn = self.config, self.world.training
        env = make_training_env(
            self.algorithm,
            self.world.task,
            config.seed,
            n_threads=1,
            context_source=drawn.context_source,
            perturbations=drawn.perturbations,
            vision=self.encoder.vision or self.world.vision,
            reward=config.reward or "task",
        )
        own = self.encoder.seams(self.algorithm.algorithm, env.observation_space)
        seams = merge(Seams(feedback=drawn.feedback), merge(own, self.method.seams(self.source)))
        model = build_agent(self.algorithm, env, config.seed, device=config.device, seams=seams)
        model.set_logger(self.recorder.logger())
        return model

    def _learn(self, model: SeamAgent, report: TransferReport, state: State | None) -> None:
        """Prepare and learn within one budget, at the end in the reality; what preparing takes is counted."""
        steps, real = self.config.steps, self.world.reality_steps
        if real >= steps:
            self.world.enter_reality(model, self.algorithm)
        evaluations = self._evaluation()
        watching: list[BaseCallback] = [*evaluations, _Progress(self.recorder, lambda: not self.stopped)]
        if self.world.training.terms:
            watching.append(DrawnRecorder(self.recorder, self.world.training))
        if self.config.reward:
            watching.append(RewardLog())
        if state is None:
            for evaluation in evaluations:
                evaluation.evaluate_start(model)
            report.steps = self.method.prepare(model, CallbackList(watching), steps)
            rest = steps - report.steps
        else:
            watching = [*self.method.callbacks(report), *watching]
            self._continue(model, report, watching, state)
            rest = steps - model.num_timesteps
        self.method.amend(report, model)
        if rest <= 0:  # preparing took the whole budget: the end of the grid is still to be evaluated
            ending = CallbackList(watching)
            ending.init_callback(model)
            ending.on_training_end()
            return
        if state is None:
            watching = [*self.method.callbacks(report), *watching]
        callbacks = CallbackList(watching)
        state_now, notice = partial(self._state, model, report, watching), self.claim.notice
        model.before_rollout = StateKeeper(self.directory, state_now, self.claim.is_ours, notice=notice)
        with notice.safe_place_ahead():
            if 0 < real < rest:
                model.learn(rest - real, callback=callbacks, reset_num_timesteps=False)
                rest = steps - model.num_timesteps
            if rest > 0 and not self.stopped:
                if real > 0 and not self.world.in_reality:
                    self.world.enter_reality(model, self.algorithm)
                model.learn(rest, callback=callbacks, reset_num_timesteps=False)

    def _state(
        self, model: SeamAgent, report: TransferReport, watching: list[BaseCallback]
    ) -> tuple[int, State]:
        """The step, and everything that the training depends on from there on."""
        return model.num_timesteps, {
            "own": {name: getattr(self, name) for name in _CARRIED},
            "prepared": report.steps,
            "world": self.world.state_dict(),
            "agent": training_state(model, watching),
            "recorder": self.recorder.state_dict(),
        }

    def _continue(
        self, model: SeamAgent, report: TransferReport, watching: list[BaseCallback], state: State
    ) -> None:
        """Go on from a state, with an agent that has begun the same way."""
        try:
            load_training_state(model, watching, state["agent"])
            self.world.load_state_dict(state["world"])
            for name in _CARRIED:
                setattr(self, name, state["own"][name])
            report.steps = state["prepared"]
        except Exception as error:
            raise UnusableStateError(f"{type(error).__name__}: {error}") from error
        print(f"Continued from step {model.num_timesteps:,}.", flush=True)
        if others := other_machine(model, state["agent"]):
            print(f"From here on this resume is statistical: {'; '.join(others)}.", flush=True)

    def _evaluation(self) -> list[EvaluationCallback]:
        """The evaluations on the grid, if there are any."""
        config = self.config
        if config.evaluation_episodes == 0:
            return []
        every = config.evaluation_every or config.steps
        evaluation = EvaluationCallback(
            self.world.played,
            every,
            total=config.steps,
            episodes=config.evaluation_episodes,
            seed=config.evaluation_seed,
        )
        evaluation.on_result = lambda result, seconds: self._on_result(evaluation.model, result, seconds)
        return [evaluation]

    def _evaluate_once(self, model: BaseAlgorithm) -> None:
        episodes, seed = self.config.evaluation_episodes, self.config.evaluation_seed
        if episodes:
            played = evaluate(Policy.from_model(model), self.world.played, episodes=episodes, seed=seed)
            self._on_result(model, played, 0.0)

    def _on_result(self, model: BaseAlgorithm, result: EvaluationResult, training_seconds: float) -> None:
        """Record an evaluation, and keep the agent if it was the best so far."""
        if not self.claim.is_ours():
            raise ClaimedError(f"another process has taken over {self.directory}")
        self.world.count(result)
        self.recorder.evaluation(result, training_seconds)
        mean = float(result.returns.mean())
        told = {"step": int(result.step), "return": mean, "episodes": len(result.returns)}
        self.evaluated = told if math.isfinite(mean) else None
        self.without_better += 1
        if mean > self.best:
            self.best, self.without_better = mean, 0
            self._write(model, BEST)
        stop_at, patience = self.config.stopping.get("stop_at"), self.config.stopping.get("patience")
        if stop_at is not None and mean >= stop_at:
            self.stopped = f"its return reached {stop_at:g}"
        elif patience and self.without_better >= patience:
            self.stopped = f"{patience} evaluations weren't better than {self.best:,.1f}"

    def _write(self, model: BaseAlgorithm, name: str) -> None:
        """Write a checkpoint of the agent as it is, with its last evaluation."""
        task, steps, path = self.world.task, model.num_timesteps, self.directory / name
        keep = self.config.replay and name == LAST
        save_checkpoint(model, path, keep_replay=keep, task=task, steps=steps, evaluation=self.evaluated)

    def _save(self, model: BaseAlgorithm) -> Sequence[str]:
        """Write the checkpoint, and how far a curriculum got."""
        self._write(model, LAST)
        curriculum = self.world.training.curriculum
        if curriculum is not None:
            write_json(self.directory / CURRICULUM, without_numpy(curriculum.state_dict()), durable=True)
        return ()

    def _film(self, model: BaseAlgorithm) -> Sequence[str]:
        """Keep frames and a film for the report of what is evaluated."""
        if not self.config.evaluation_episodes:
            return ()
        return film(model, self.world.task, self.directory, self.config.evaluation_seed)


class _Progress(BaseCallback):
    """Tells how far training is, and ends it where it shall not go on."""

    def __init__(self, recorder: Recorder, goes_on: Callable[[], bool]) -> None:
        super().__init__()
        self.recorder, self.goes_on = recorder, goes_on

    def _on_step(self) -> bool:
        self.recorder.progress(self.num_timesteps)
        return self.goes_on()
