"""Each seam on each algorithm where it makes sense."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.agents.algorithms.models import ALGORITHMS, build, tensors
from tests.agents.conftest import DictTask, vectorise
from warmstart.agents.algorithms.ppo import PPO
from warmstart.agents.algorithms.sac import SAC
from warmstart.agents.algorithms.seams import (
    EpisodeBatch,
    Experience,
    Feedback,
    GuideActions,
    LossBatch,
    LossTerm,
    Seams,
)
from warmstart.agents.algorithms.td3 import TD3
from warmstart.agents.checkpoints.normalization import vec_normalize
from warmstart.core.errors import WarmstartError


@pytest.mark.parametrize("cls", ALGORITHMS)
def test_initialise_and_architecture(cls: Any) -> None:
    def zero(model: Any) -> None:
        with torch.no_grad():
            for parameter in model.policy.parameters():
                parameter.zero_()

    model = build(cls, Seams(initialise=zero, policy_kwargs={"net_arch": [7]}))
    assert all(not value.any() for value in model.policy.state_dict().values())
    assert any(7 in value.shape for value in model.policy.state_dict().values())


class L2SP(LossTerm):
    """Pull towards the start (1802.01483)."""

    name = "l2_sp"

    def __init__(self, part: Any, coefficient: float) -> None:
        self.part = part
        self.coefficient = coefficient
        self.reference: dict[str, torch.Tensor] = {}

    def loss(self, model: Any, batch: LossBatch) -> torch.Tensor:
        module = model.policy if isinstance(model, PPO) else getattr(model.policy, self.part)
        named = dict(module.named_parameters())
        if not self.reference:
            self.reference = {n: p.detach().clone() for n, p in named.items()}
        squares = [(p - self.reference[n]).square().sum() for n, p in named.items()]
        return self.coefficient * torch.stack(squares).sum()

    def state_dict(self) -> dict[str, Any]:
        return {"reference": self.reference}

    def load_state_dict(self, state: Any) -> None:
        self.reference = dict(state["reference"])


class TeacherKL(LossTerm):
    """Pull the mean action towards a teacher's that always says zero."""

    name = "teacher"

    def loss(self, model: Any, batch: LossBatch) -> torch.Tensor:
        assert isinstance(batch.observations, torch.Tensor)
        if isinstance(model, PPO):
            mean = model.policy.get_distribution(batch.observations).distribution.mean  # type: ignore[union-attr]
        elif isinstance(model, SAC):
            mean = model.actor.get_action_dist_params(batch.observations)[0]
        else:
            mean = model.actor(batch.observations)
        return 1000 * mean.square().sum(1).mean()


@pytest.mark.parametrize("cls", ALGORITHMS)
def test_l2_sp_keeps_parameters_near_the_start(cls: Any) -> None:
    distances = []
    for coefficient in (0.0, 1e4):
        terms = (L2SP("actor", coefficient), L2SP("critic", coefficient))
        model = build(cls, Seams(loss_terms=terms), learning_rate=1e-3)
        before = tensors(model)
        model.learn(96)
        now = model.policy.state_dict()
        distances.append(sum((now[n] - before[n]).square().sum().item() for n in before))
        assert "train/l2_sp" in model.logger.name_to_value
    assert distances[1] < 0.5 * distances[0]


@pytest.mark.parametrize("cls", ALGORITHMS)
def test_a_teacher_is_followed(cls: Any) -> None:
    model = build(cls, Seams(loss_terms=(TeacherKL(),)), learning_rate=1e-2)
    observations = np.random.default_rng(0).normal(size=(64, 11)).astype(np.float32)
    if cls is PPO:
        with torch.no_grad():
            model.policy.action_net.weight.mul_(50)
    start = np.abs(model.predict(observations, deterministic=True)[0]).mean()
    model.learn(256)
    assert np.abs(model.predict(observations, deterministic=True)[0]).mean() < 0.6 * start


def test_a_zero_term_leaves_ppos_own_update() -> None:
    plain = build(PPO).learn(64)
    terms = build(PPO, Seams(loss_terms=(L2SP("actor", 0.0),))).learn(64)
    for name, value in plain.policy.state_dict().items():
        assert torch.allclose(value, terms.policy.state_dict()[name], atol=1e-6)


class Guide(Experience):
    """Acts with a constant in the first environment."""

    def __init__(self, random_steps: int | None = None) -> None:
        self.random_steps = random_steps
        self.seen: list[Any] = []

    def guide(self, observations: Any, episode_steps: NDArray[np.int64], step: int) -> GuideActions | None:
        self.seen.append((observations.copy(), episode_steps.copy(), step))
        return GuideActions(np.full((2, 3), 0.25, np.float32), np.array([True, False]))


@pytest.mark.parametrize("cls", ALGORITHMS)
def test_the_guide_acts_and_is_stored(cls: Any) -> None:
    guide = Guide()
    settings: dict[str, Any] = {"n_epochs": 1} if cls is PPO else {"gradient_steps": 0}
    model = build(cls, Seams(experience=guide), **settings)
    taken = []
    step_async = model.env.step_async

    def watched(actions: Any) -> None:
        taken.append(actions.copy())
        step_async(actions)

    model.env.step_async = watched
    model.learn(32)
    assert all((a[0] == 0.25).all() and not (a[1] == 0.25).any() for a in taken)
    stored = model.rollout_buffer.actions if cls is PPO else model.replay_buffer.actions[:16]
    assert (np.isclose(stored, 0.25).all(-1)).sum() == 16
    assert guide.seen[3][1].max() == 3
    assert guide.seen[3][2] == 6


def test_ppos_ratio_of_guided_actions_starts_at_one() -> None:
    model = build(PPO, Seams(experience=Guide()), n_epochs=1, learning_rate=0.0)
    model.learn(32)
    assert model.logger.name_to_value["train/approx_kl"] == pytest.approx(0, abs=1e-7)
    buffer = model.rollout_buffer
    _, log_probs, _ = model.policy.evaluate_actions(
        torch.as_tensor(buffer.observations).float(), torch.as_tensor(buffer.actions)
    )
    assert np.allclose(log_probs.detach().numpy(), buffer.log_probs.flatten(), atol=1e-5)


def test_a_guide_in_a_discrete_task_gets_raw_observations() -> None:
    class Left(Experience):
        def guide(self, observations: Any, episode_steps: Any, step: int) -> GuideActions:
            assert set(observations) == {"position", "rest"}
            assert np.abs(observations["position"]).max() <= 9
            return GuideActions(np.zeros(3, np.int64), np.ones(3, bool))

    env = vectorise(lambda: DictTask(discrete=True), 3)
    model = PPO(
        "MultiInputPolicy", vec_normalize(env), n_steps=16, batch_size=24, seams=Seams(experience=Left())
    )
    model.learn(48)
    assert not model.rollout_buffer.actions.any()


def test_a_guide_of_the_wrong_shape_is_an_error() -> None:
    class Wrong(Experience):
        def guide(self, observations: Any, episode_steps: Any, step: int) -> GuideActions:
            return GuideActions(np.zeros((2, 5), np.float32), np.ones(2, bool))

    for cls in ALGORITHMS:
        with pytest.raises(WarmstartError, match=r"\(2, 5\), expected \(2, 3\)"):
            build(cls, Seams(experience=Wrong())).learn(32)


@pytest.mark.parametrize("cls", [SAC, TD3])
def test_random_steps_are_separate_from_learning_starts(cls: Any) -> None:
    """The warm agent acts with its own policy from the first step, and learns only later."""

    def actions(random_steps: int | None) -> Any:
        model = build(cls, random_steps=random_steps, learning_starts=1000)
        with torch.no_grad():
            for parameter in model.policy.actor.parameters():
                parameter.zero_()
            if cls is SAC:
                model.policy.actor.log_std.bias.fill_(-20)
        model.learn(20)
        return model.replay_buffer.actions[:10]

    assert np.abs(actions(0)).max() < 1e-3
    half = actions(10)
    assert np.abs(half[:5]).max() > 0.1
    assert np.abs(half[5:]).max() < 1e-3
    assert np.abs(actions(None)[5:]).max() > 0.1


@pytest.mark.parametrize("cls", [SAC, TD3])
def test_the_buffer_is_seeded_once(cls: Any) -> None:
    class Seeded(Experience):
        random_steps = 0

        def seed_buffer(self, model: Any) -> int:
            for _ in range(5):
                zeros = np.zeros((2, 11))
                model.replay_buffer.add(zeros, zeros, np.ones((2, 3)), np.ones(2), np.zeros(2), [{}, {}])
            return 10

    model = build(cls, Seams(experience=Seeded()))
    assert model.random_steps == 0
    model.learn(12)
    assert (model.replay_buffer.rewards[:5] == 1).all()
    position = model.replay_buffer.pos
    model.learn(4, reset_num_timesteps=False)
    assert model.replay_buffer.pos == position + 2


@pytest.mark.parametrize("cls", ALGORITHMS)
def test_feedback_hears_of_every_episode(cls: Any) -> None:
    class Listener(Feedback):
        def __init__(self) -> None:
            self.batches: list[EpisodeBatch] = []

        def on_episodes(self, batch: EpisodeBatch) -> None:
            self.batches.append(batch)

        def state_dict(self) -> dict[str, Any]:
            return {"n": len(self.batches)}

        def load_state_dict(self, state: Any) -> None:
            self.loaded = state["n"]

    listener = Listener()
    model = build(cls, Seams(feedback=(listener,)))
    model.learn(160)
    returns = [r for batch in listener.batches for r in batch.returns]
    assert returns
    assert returns == pytest.approx([e["r"] for e in model.ep_info_buffer])
    assert all((batch.lengths > 0).all() and set(batch.env_ids) <= {0, 1} for batch in listener.batches)
    state = model.seams.state_dict()
    model.seams.load_state_dict(state)
    assert listener.loaded == len(listener.batches)


def test_states_of_other_seams_are_refused() -> None:
    state = Seams(loss_terms=(L2SP("actor", 1.0),)).state_dict()
    with pytest.raises(WarmstartError, match="1 loss_terms, but the agent has 0"):
        Seams().load_state_dict(state)
    with pytest.raises(WarmstartError, match="keeps no state"):
        Feedback().load_state_dict({"x": 1})


class Poisoned(LossTerm):
    """Fine in the first minibatches, then no number."""

    name = "poisoned"
    part: Any = "critic"

    def __init__(self, value: float) -> None:
        self.value, self.left = value, 3

    def loss(self, model: Any, batch: LossBatch) -> torch.Tensor:
        self.left -= 1
        some = next(iter(model.policy.parameters())).sum()
        return some * (0.0 if self.left > 0 else self.value)


@pytest.mark.parametrize("cls", ALGORITHMS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_losses_that_are_no_numbers_end_training_by_their_name(cls: Any, value: float) -> None:
    model = build(cls, Seams(loss_terms=(Poisoned(value),)))
    with pytest.raises(WarmstartError, match=r"The update at step [\d,]+ failed: .*(loss is|aren't)"):
        model.learn(400)


@pytest.mark.parametrize("cls", ALGORITHMS)
def test_a_gradient_that_is_no_number_ends_training(cls: Any) -> None:
    model = build(cls, Seams())
    parameter = next(iter(model.policy.actor.parameters() if cls is not PPO else model.policy.parameters()))
    if cls is PPO:
        model.learn(64)
        with torch.no_grad():
            parameter[0] = float("nan")
    else:
        parameter.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(WarmstartError, match=r"failed: .*holds numbers that aren't finite"):
        model.learn(400)
