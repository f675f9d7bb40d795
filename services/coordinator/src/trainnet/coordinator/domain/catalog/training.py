"""The knobs of training, the same for everything that learns by gradients, and those of adapters."""

from trainnet.coordinator.domain.catalog.types import Hyperparameter, Type


def training(
    *,
    optimizer: str = "sgd",
    learning_rate: float = 0.05,
    weight_decay: float = 0.0,
    batch_size: int = 64,
    warmup_steps: int = 0,
    gradient_clip: float = 0.0,
) -> tuple[Hyperparameter, ...]:
    """The knobs with an architecture's own defaults."""
    return (
        Hyperparameter(
            "optimizer", Type.CHOICE, optimizer, "How weights follow their gradients.", choices=("sgd", "adamw")
        ),
        Hyperparameter("learning_rate", Type.FLOAT, learning_rate, "Step size of the optimizer.", 1e-7, 10),
        Hyperparameter("momentum", Type.FLOAT, 0.9, "Momentum of sgd; adamw has its own.", 0, 0.999),
        Hyperparameter("weight_decay", Type.FLOAT, weight_decay, "Pull of the weights towards zero.", 0, 1),
        Hyperparameter(
            "batch_size",
            Type.INTEGER,
            batch_size,
            "Examples in each step; halved once by a worker whose memory it does not fit.",
            1,
            65536,
        ),
        Hyperparameter(
            "accumulate",
            Type.INTEGER,
            1,
            "Batches whose gradients are added up for one step of the optimizer.",
            1,
            65536,
        ),
        Hyperparameter(
            "schedule",
            Type.CHOICE,
            "constant",
            "Course of the learning rate over the steps of all rounds.",
            choices=("constant", "linear", "cosine"),
        ),
        Hyperparameter(
            "warmup_steps",
            Type.INTEGER,
            warmup_steps,
            "Steps, from the first round on, in which the learning rate rises from zero.",
            0,
            10_000_000,
        ),
        Hyperparameter(
            "gradient_clip",
            Type.FLOAT,
            gradient_clip,
            "Largest L2 norm of a step's gradient; 0 means no bound.",
            0,
            1e6,
        ),
        Hyperparameter(
            "label_smoothing", Type.FLOAT, 0.0, "Share of the target that is spread over all classes or tokens.", 0, 0.9
        ),
        Hyperparameter(
            "fedprox_mu",
            Type.FLOAT,
            0.0,
            "Pull towards the weights that the round started from (FedProx, arXiv:1812.06127); 0 means none.",
            0,
            1000,
        ),
        Hyperparameter(
            "precision",
            Type.CHOICE,
            "auto",
            "Numbers that a step computes in; auto is bf16 on a CUDA device that has it, else fp32.",
            choices=("auto", "fp32", "bf16", "fp16"),
        ),
        Hyperparameter(
            "compile",
            Type.BOOLEAN,
            False,
            "Compile the model with torch.compile, on CUDA devices; the rest go without.",
        ),
    )


LORA = (
    Hyperparameter(
        "lora.rank",
        Type.INTEGER,
        0,
        "Rank of the adapter that is trained in place of all weights (LoRA, arXiv:2106.09685); 0 trains all weights.",
        0,
        1024,
    ),
    Hyperparameter("lora.alpha", Type.FLOAT, 16.0, "Scale of the adapter, divided by its rank.", 0.001, 4096),
    Hyperparameter("lora.dropout", Type.FLOAT, 0.0, "Share of the adapter's inputs dropped in training.", 0, 0.95),
    Hyperparameter(
        "lora.targets",
        Type.STRING,
        "",
        "Names of the modules that get an adapter, separated by commas; empty means the attention's projections.",
    ),
)
"""Adapters by peft."""


def size(default: str = "tiny") -> Hyperparameter:
    return Hyperparameter(
        "size",
        Type.CHOICE,
        default,
        "Named configuration that a model from scratch has; a base brings its own.",
        choices=("tiny", "small", "base"),
    )
