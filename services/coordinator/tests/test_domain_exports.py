"""What may be a file of an owner's folder."""

import pytest

from trainnet.coordinator.domain.exports import MAX_FILES, MAX_PATH, path_of, unusable


@pytest.mark.parametrize(
    "path", ["model.safetensors", "README.md", "plots/loss.png", "a/b/c.json", "_x", "model-00001-of-00002.safetensors"]
)
def test_a_file_of_the_folder(path: str) -> None:
    assert path_of(f"model/{path}") == path
    assert unusable([f"model/{path}"]) == ""


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a/..",
        "./a",
        "a//b",
        "a/",
        ".ssh/id",
        "a/.hidden",
        "a\\b",
        "C:x",
        "a b",
        "a\n",
        "\u202ea",
        "x" * (MAX_PATH + 1),
    ],
)
def test_nothing_gets_out_of_the_folder(path: str) -> None:
    assert path_of(f"model/{path}") is None
    assert unusable(["model/README.md", f"model/{path}"]).endswith("is no file of a model's folder")


def test_what_is_no_folder() -> None:
    assert path_of("base") is None
    assert unusable([]) == f"a model's folder has 1 to {MAX_FILES} files, not 0"
    assert unusable([f"model/{index}" for index in range(MAX_FILES)]) == ""
    assert unusable([f"model/{index}" for index in range(MAX_FILES + 1)]).endswith("not 65")
    assert unusable(["model/readme.md", "model/README.md"]) == "two files of a model's folder have the same name"
    assert unusable(["model/a", "model/a/b"]) == "'a' is a file and a folder at once"
