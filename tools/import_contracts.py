"""A contract type for import-linter that it does not bring itself."""

import sys

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class StandardLibraryOnly(Contract):
    """The package imports itself and the standard library, nothing else: decisions stay free of I/O and frameworks."""

    package: str = fields.StringField()  # type: ignore[assignment]  # a descriptor

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        if self.package not in graph.modules:
            raise ValueError(f"{self.package} does not exist")
        others = [
            (importer, imported)
            for importer in {self.package, *graph.find_descendants(self.package)}
            for imported in graph.find_modules_directly_imported_by(importer)
            if imported.split(".")[0] not in sys.stdlib_module_names
            and imported != self.package
            and not imported.startswith(f"{self.package}.")
        ]
        return ContractCheck(kept=not others, metadata={"others": sorted(others)})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for importer, imported in check.metadata["others"]:
            output.print_error(f"{importer} imports {imported}", bold=False)
