"""The short card of a model whose folder nobody made yet."""

from trainnet.coordinator.usecases.model_card import model_card
from trainnet.v1 import dataset_pb2, job_pb2


def job(schema: dataset_pb2.DataSchema, *metrics: dict[str, float]) -> job_pb2.Job:
    rounds = [
        job_pb2.Round(number=number, merged_sha256=f"{number:064}", metrics=found)
        for number, found in enumerate(metrics, 1)
    ]
    plan = dataset_pb2.ShardPlan(shards=2, holdout_fraction=0.1)
    spec = job_pb2.JobSpec(architecture="gpt2", rounds=len(metrics), plan=plan)
    return job_pb2.Job(name="jobs/j", spec=spec, schema=schema, rounds=rounds)


def test_it_has_the_metrics_that_there_are() -> None:
    card = model_card(job(dataset_pb2.DataSchema(rows=10), {"perplexity": 9.5, "loss": 2.25}, {}), 2)
    assert "| round | updates | examples | perplexity | loss | SHA-256 of the merged weights |\n" in card
    assert "\n|---|---|---|---|---|---|\n" in card
    assert f"| 1 | 0 | 0 | 9.5000 | 2.2500 | `{1:064}` |\n| 2 | 0 | 0 | | | `{2:064}` |\n" in card
    assert "10 rows, of which 10% were held out for evaluation; 2 shards.\n" in card


def test_it_names_the_label_and_its_classes() -> None:
    classes = [dataset_pb2.LabelClass(name=str(index)) for index in range(22)]
    card = model_card(job(dataset_pb2.DataSchema(label="y", classes=classes), {"accuracy": 0.5}), 1)
    assert "Label `y`: 0, 1, 2, " in card
    assert " and 2 more." in card
    text = model_card(job(dataset_pb2.DataSchema(label="said", label_is_text=True), {}), 1)
    assert "Label `said`.\n" in text
