"""`trainnet bench attacks`: the attacks themselves, and a few short trainings through the aggregator's engine."""

import json

import pytest
import torch
from typer.testing import CliRunner

from trainnet.cli.main import app
from trainnet.local.bench.robustness import attackers, pictures, table
from trainnet.local.errors import LocalError

HONEST, HOSTILE, WEIGHTS = 20, 5, 50


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.fixture
def honest(random: torch.Generator) -> torch.Tensor:
    return 1.0 + torch.randn(HONEST, WEIGHTS, generator=random)


@pytest.fixture
def own(random: torch.Generator) -> torch.Tensor:
    return torch.randn(HOSTILE, WEIGHTS, generator=random)


@pytest.mark.parametrize("name", attackers.ATTACKS)
def test_every_attack_sends_a_row_for_each_hostile_worker(
    name: str, random: torch.Generator, honest: torch.Tensor, own: torch.Tensor
) -> None:
    attack, before = attackers.ATTACKS[name](random, 1.0), honest.clone()
    sent = attack.tamper(honest, own)
    assert sent.shape == own.shape
    assert bool(sent.isfinite().all())
    assert torch.equal(honest, before), "the honest ones' updates stay theirs"
    assert torch.equal(sent, own) == (name in {"none", "label_flip", "backdoor"}), "these three work by the data alone"


def test_alie_stays_within_what_honest_workers_send(honest: torch.Tensor, own: torch.Tensor) -> None:
    sent = attackers.ALittleIsEnough().tamper(honest, own)
    away = (sent[0] - honest.mean(dim=0)) / honest.std(dim=0)
    # 25 workers, 5 of them hostile: 8 of 20 honest ones have to be farther out, the normal quantile of 12 / 20.
    assert torch.allclose(away, torch.full_like(away, -0.25335), atol=1e-4)


def test_mimic_settles_on_the_one_that_is_farthest_out(honest: torch.Tensor, own: torch.Tensor) -> None:
    attack, strange = attackers.Mimic(), honest.clone()
    strange[7] += 10.0
    for _ in range(attack.WATCHED):
        sent = attack.tamper(strange, own)
    assert torch.equal(sent[0], strange[7])


def test_a_backdoor_poisons_half_of_a_batch(random: torch.Generator) -> None:
    images, labels = torch.zeros(HOSTILE, 8, 14 * 14), torch.full((HOSTILE, 8), 3)
    found, targets = attackers.Backdoor(2.5).poison(images, labels)
    assert (found == 2.5).sum(dim=2).tolist() == [[4] * 4 + [0] * 4] * HOSTILE
    assert targets.tolist() == [[attackers.TARGET] * 4 + [3] * 4] * HOSTILE
    assert float(images.sum()) == 0, "others still learn from these"


@pytest.mark.parametrize("split", pictures.SPLITS)
def test_every_row_has_one_owner(split: str, random: torch.Generator) -> None:
    labels = torch.randint(10, (4000,), generator=random)
    shares = pictures.shares(labels, HONEST, split, 1)
    assert len(shares) == HONEST
    assert torch.equal(torch.cat(shares).sort().values, torch.arange(4000))
    if split == "sorted":
        assert max(len(set(labels[share].tolist())) for share in shares) <= 2


def test_the_table_has_every_rule_and_the_mean_without_buckets() -> None:
    cells = table.cells(list(table.RULES), [1, 2], [0.0, 0.9], ["none"], 1)
    assert len(cells) == len(set(cells)) == 2 * (2 * len(table.RULES) - 2)
    for cell in cells:
        assert table.policy(cell.rule, cell.bucketing, {"clip_radius": 3}).byzantine in {0, 5}


def test_too_many_hostile_ones_are_refused_beforehand() -> None:
    with pytest.raises(LocalError, match="byzantine"):
        table.policy("krum", 2, {"byzantine": 6})


def test_rows_for_programs() -> None:
    options = ["--data", "mnist", "--quick", "--rounds", "10", "--attacks", "none,backdoor", "--json"]
    done = CliRunner().invoke(app, ["bench", "attacks", *options])
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["rule"], row["bucketing"], row["momentum"], row["attack"]) for row in rows] == [
        ("mean", 1, 0.9, "none"),
        ("mean", 1, 0.9, "backdoor"),
        ("centered_clipping", 2, 0.9, "none"),
        ("centered_clipping", 2, 0.9, "backdoor"),
    ]
    assert all(0 <= row["accuracy"] <= 1 for row in rows)
    assert ["success_rate" in row for row in rows] == [False, True] * 2


@pytest.mark.parametrize("option", [("--rules", "best"), ("--attacks", "x"), ("--set", "radius=1"), ("--split", "y")])
def test_a_name_that_is_not_there(option: tuple[str, str]) -> None:
    done = CliRunner().invoke(app, ["bench", "attacks", "--data", "mnist", "--quick", *option])
    assert (done.exit_code, f"{option[0]}: " in done.stderr) == (1, True), done.output
