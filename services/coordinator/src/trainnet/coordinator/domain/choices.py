"""Choices that have numbers: a merge strategy, a rule, a codec. A number that the choice does not have is refused: who
gives it expects an effect."""

from collections.abc import Collection, Mapping


class BadChoice(ValueError):
    """A choice or a number of it that makes no sense; `field` is the one at fault."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


def refuse_unused(
    choices: Mapping[str, Collection[str]], choice: str, given: Collection[str], called: Mapping[str, str]
) -> None:
    """Raises BadChoice for the first number given that the choice does not have; `choices` are the numbers of each,
    `called` is what people call some of them."""
    for field in given:
        if field in choices[choice]:
            continue
        has = f"it has {', '.join(choices[choice])}" if choices[choice] else "it has no numbers"
        users = ", ".join(called.get(name, name) for name, numbers in choices.items() if field in numbers)
        said = called.get(choice, choice)
        raise BadChoice(field, f"{said} has no {field} ({has}): leave it out, or choose one of {users}")
