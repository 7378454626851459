"""What happens inside one trial: build, initialise, prepare, learn (evaluated on the grid), keep.

Training and evaluation share nothing but the policy: the same bits come out with and without evaluation.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from warmstart.agents.algorithms.seams import EvaluationResult, Seams
from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.checkpoint import Checkpoint, save_checkpoint
from warmstart.agents.checkpoints.normalization import read, write
from warmstart.agents.checkpoints.policy import Policy
from warmstart.agents.evaluation import EvaluationCallback, evaluate, generators_kept
from warmstart.agents.extractors.seams import merge
from warmstart.agents.settings.config import config_from_json
from warmstart.core.errors import WarmstartError
from warmstart.core.files import without_numpy, write_json
from warmstart.envs.sb3 import env_attribute
from warmstart.envs.tasks.task import Task
from warmstart.experiments.records.claims import Claim, ClaimedError
from warmstart.experiments.records.config import TrialConfig
from warmstart.experiments.records.recorder import Recorder
from warmstart.experiments.records.records import CHECKPOINT, CURRICULUM, TRANSFER
from warmstart.experiments.records.status import StatusWriter
from warmstart.experiments.trial.drawn import DrawnRecorder
from warmstart.experiments.trial.identifying import identification_notes, identify_physics
from warmstart.experiments.trial.media import write_media
from warmstart.experiments.trial.random_actions import evaluate_random
from warmstart.experiments.trial.seeing import Sight, make_sight
from warmstart.experiments.trial.source import load_source, transfer_context
from warmstart.experiments.trial.worlds import (
    identified,
    measure_reality,
    training_task,
    trial_reality,
    trial_world,
)
from warmstart.sim2real.world import world_vision
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.encoders.proof import FreezeProof, precision_note
from warmstart.transfer.methods.fine_tuning import fit_within
from warmstart.transfer.methods.table import make_method

if TYPE_CHECKING:
    from warmstart.sim2real.reality import Reality


def train(config: TrialConfig, directory: Path, status: StatusWriter, claim: Claim) -> None:
    """Run one trial from its start to its final checkpoint.

    Args:
        config: What to run.
        directory: Where it records.
        status: Where others see how far it is.
        claim: The held claim; losing it ends the trial.

    Raises:
        ClaimedError: The claim was taken over by another process.
        DiskFullError: No space is left.
        WarmstartError: Source, task and method don't go together.
    """
    recorder = Recorder(directory, config, status)
    try:
        if config.kind == "random":
            evaluate_random(config, recorder, trial_reality(config, directory))
        elif config.kind == "encoder":
            from warmstart.experiments.trial.encoder_training import train_encoder  # few trials need it

            train_encoder(config, directory, recorder)
        elif config.kind == "identify":
            identify_physics(config, directory, recorder)
        else:
            _Training(config, directory, recorder, claim).run()
    finally:
        recorder.close()


class _Training:
    """One agent's way through a trial."""

    def __init__(self, config: TrialConfig, directory: Path, recorder: Recorder, claim: Claim) -> None:
        self.config = config
        self.directory = directory
        self.recorder = recorder
        self.claim = claim
        found = identified(config, directory)
        self.reality = trial_reality(config, directory)
        self.task = training_task(config, found)
        self.world = trial_world(config, self.task, found)
        self.notes = identification_notes(found)
        self.recorded, self.evaluated = int(found.get("interactions", 0)), 0
        self.diverged, self.diverged_in_evaluation = 0, 0
        self.algorithm = config_from_json(config.algorithm)
        method = make_method(dict(config.method))
        self.method, self.note = fit_within(method, config.steps, self.algorithm)

    def run(self) -> None:
        """Build, initialise, learn, save, judge, and report what was done."""
        source = load_source(self.config, self.directory)
        self.recorder.start(source.steps if source is not None else 0)
        sight = make_sight(self.config, self.directory, source)
        model = self._build(source, sight)
        proof = None
        if sight.frozen is not None:
            proof = FreezeProof(sight.frozen, env_attribute(model.get_env(), "encoder_in_use"))
        try:
            report = self.method.initialise(model, source, transfer_context(self.config))
            report.add_notes([*sight.notes, *([self.note] if self.note else []), *self.notes])
            if self.method.trains:
                self._learn(model, report)
            else:
                self._evaluate_once(model)
            if proof is not None:
                in_use = env_attribute(model.get_env(), "encoder_in_use")
                report.add_notes([proof.note(), precision_note(in_use)])
            self._save(model)
            report.add_notes(self._divergence(model))
            self._judge(model)
            self._film(model, report)
            write_json(self.directory / TRANSFER, report.to_json())
            self.recorder.end(self.config.steps, model.num_timesteps, constant=not self.method.trains)
        finally:
            env = model.get_env()
            if env is not None:
                env.close()

    def _save(self, model: BaseAlgorithm) -> None:
        """Write the checkpoint, and how far a curriculum got."""
        save_checkpoint(model, self.directory / CHECKPOINT, task=self.task, steps=model.num_timesteps)
        if self.world.curriculum is not None:
            state = without_numpy(self.world.curriculum.state_dict())
            write_json(self.directory / CURRICULUM, state, durable=True)

    def _divergence(self, model: BaseAlgorithm) -> list[str]:
        """What the report says of simulations that diverged."""
        self.diverged += int(env_attribute(model.get_env(), "n_diverged") or 0)
        notes = []
        if self.diverged:
            notes.append(f"{self.diverged:,} simulations diverged in training and were begun anew.")
        if self.diverged_in_evaluation:
            told = f"{self.diverged_in_evaluation:,} simulations diverged in evaluations"
            notes.append(f"{told}, which ended their episodes.")
        return notes

    def _judge(self, model: BaseAlgorithm) -> None:
        """Measure what the agent keeps in the reality, where there is one."""
        if self.reality is not None:
            taken = int(env_attribute(model.get_env(), "interactions") or 0) + self.recorded
            measure_reality(model, self.config, self.reality, self.directory, taken, self.evaluated)

    def _build(self, source: Checkpoint | None, sight: Sight) -> BaseAlgorithm:
        env = make_training_env(
            self.algorithm,
            self.task,
            self.config.seed,
            n_threads=1,
            context_source=self.world.context_source,
            perturbations=self.world.perturbations,
            vision=sight.vision or world_vision(self.config.world, drawn=bool(self.world.terms)),
        )
        seams = self.method.seams(source)
        if sight.seams is not None:
            seams = merge(sight.seams, seams)
        if self.world.feedback:
            seams = merge(Seams(feedback=self.world.feedback), seams)
        model = build_agent(self.algorithm, env, self.config.seed, device=self.config.device, seams=seams)
        model.set_logger(self.recorder.logger())
        return model

    def _learn(self, model: BaseAlgorithm, report: TransferReport) -> None:
        """Prepare and learn within one budget; what preparing takes is counted."""
        steps, real = self.config.steps, int(self.config.world.get("reality_steps", 0))
        if real >= steps:
            self._move_to_reality(model)
        evaluations = self._evaluation()
        for evaluation in evaluations:
            evaluation.evaluate_start(model)
        watchers: list[BaseCallback] = [*evaluations, _Progress(self.recorder)]
        if self.world.terms:
            watchers.append(DrawnRecorder(self.recorder, self.world))
        used = self.method.prepare(model, CallbackList(watchers), steps)
        report.steps = used
        if used < steps:
            callbacks = CallbackList([*self.method.callbacks(report), *watchers])
            rest = steps - used
            if 0 < real < rest:
                model.learn(rest - real, callback=callbacks, reset_num_timesteps=False)
                rest = steps - model.num_timesteps
            if rest > 0:
                if 0 < real < steps:
                    self._move_to_reality(model)
                model.learn(rest, callback=callbacks, reset_num_timesteps=False)
        else:  # preparing took the whole budget: the end of the grid is still to be evaluated
            watching = CallbackList(watchers)
            watching.init_callback(model)
            watching.on_training_end()

    def _move_to_reality(self, model: BaseAlgorithm) -> None:
        """Let an agent go on in the reality, with the statistics that it has."""
        assert self.reality is not None
        old = model.get_env()
        env = make_training_env(
            self.algorithm, self.reality, self.config.seed, n_threads=1, vision=env_attribute(old, "vision")
        )
        self.diverged += int(env_attribute(old, "n_diverged") or 0)
        statistics = None if old is None else read(old)
        if statistics is not None:
            write(env, statistics)
        model.set_env(env)
        own: Any = model
        gone = self.world.feedback  # a curriculum knows nothing of episodes that it didn't begin
        own.seams = replace(own.seams, feedback=tuple(x for x in own.seams.feedback if x not in gone))
        if old is not None:
            old.close()

    @property
    def where(self) -> "Task | Reality":
        """Where the agent is evaluated."""
        return Task.parse(self.config.task) if self.reality is None else self.reality

    def _evaluation(self) -> list[EvaluationCallback]:
        config = self.config
        if config.evaluation_episodes == 0:
            return []
        every = config.evaluation_every or config.steps
        return [
            EvaluationCallback(
                self.where,
                every,
                total=config.steps,
                episodes=config.evaluation_episodes,
                seed=config.evaluation_seed,
                on_result=self._on_result,
            )
        ]

    def _on_result(self, result: EvaluationResult, training_seconds: float) -> None:
        if not self.claim.is_ours():
            raise ClaimedError(f"another process has taken over {self.directory}")
        self.evaluated += int(sum(result.lengths))
        self.diverged_in_evaluation += result.diverged
        self.recorder.evaluation(result, training_seconds)

    def _evaluate_once(self, model: BaseAlgorithm) -> None:
        config = self.config
        if config.evaluation_episodes:
            episodes, seed = config.evaluation_episodes, config.evaluation_seed
            policy = Policy.from_model(model)
            self._on_result(evaluate(policy, self.where, episodes=episodes, seed=seed), 0.0)

    def _film(self, model: BaseAlgorithm, report: TransferReport) -> None:
        """Keep frames and a film for the report; a trial that trained doesn't fail for want of them."""
        if not self.config.evaluation_episodes:
            return
        try:
            with generators_kept():
                policy = Policy.from_model(model)
                write_media(policy, self.task, self.directory, self.config.evaluation_seed)
        except (OSError, RuntimeError, WarmstartError) as error:
            report.add_notes([f"No film of an episode could be made: {error}"])


class _Progress(BaseCallback):
    """Tells how far training is."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def _on_step(self) -> bool:
        self.recorder.progress(self.num_timesteps)
        return True
