"""Runs both engines in turn, cell by cell."""
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from .engines import EngineFailed, EngineProcess

ENGINES = ("inlay", "llama.cpp")
VARIANTS = {"inlay": [""], "llama.cpp": ["flash attention", "no flash attention"]}
WARM_UP_DECODE_TOKENS = 4
FIRST_TOKEN_PROMPT = 32


@dataclass(frozen=True)
class Cell:
    """One thing to measure."""

    phase: str  # "prefill", "decode" or "first token"
    tokens: int  # prefilled or decoded; of the prompt
    depth: int = 0


@dataclass
class CellResult:
    model: str
    threads: int
    cell: Cell
    seconds: dict[str, dict[str, list[float]]]  # by engine and variant, in the order of the rounds
    errors: dict[str, str] = field(default_factory=dict)  # by engine

    def document(self) -> dict[str, Any]:
        best = {engine: self.best(engine) for engine in ENGINES}
        medians = {engine: statistics.median(samples) for engine, (_, samples) in best.items() if samples}
        document = {"model": self.model, "threads": self.threads, **asdict(self.cell), "median_seconds": medians,
                    "variant": best["llama.cpp"][0], "seconds": self.seconds, "errors": self.errors}  # fmt: skip
        if len(medians) == len(ENGINES):
            pairs = zip(best["llama.cpp"][1], best["inlay"][1], strict=True)
            document["ratio"] = medians["llama.cpp"] / medians["inlay"]
            document["round_ratios"] = [peer / own for peer, own in pairs]
        return document

    def best(self, engine: str) -> tuple[str, list[float]]:
        """The faster variant; none if the engine failed."""
        if engine in self.errors:
            return "", []
        variants = self.seconds[engine]
        return min(variants.items(), key=lambda item: statistics.median(item[1]))


class Comparison:
    """Both engines on one model with one number of threads."""

    def __init__(
        self, engines: dict[str, EngineProcess], model: str, threads: int, isa: str | None, context: int
    ) -> None:
        self.engines = engines
        self.model, self.threads, self.isa, self.context = model, threads, isa, context
        self.about: dict[str, dict[str, Any]] = {}
        self.longest_wait_seconds = 0.0

    def measure(self, cell: Cell, rounds: int) -> CellResult:
        """A round of each engine in turn. An engine that fails is left out for the rest of the cell."""
        seconds = {engine: {variant: [] for variant in VARIANTS[engine]} for engine in ENGINES}
        result = CellResult(self.model, self.threads, cell, seconds)
        run = self.first_token if cell.phase == "first token" else self.evaluate
        for number in range(-1, rounds):  # the first round warms up
            for engine in ENGINES:
                if engine not in result.errors:
                    self.run_round(result, engine, run, number)
        return result

    def run_round(self, result: CellResult, engine: str, run: Callable[..., float], number: int) -> None:
        for variant, samples in result.seconds[engine].items():
            self.quiet_others(result, engine)
            try:
                taken = run(engine, variant, result.cell, number < 0)
            except EngineFailed as error:
                self.give_up(result, engine, error)
                return
            if number >= 0:
                samples.append(taken)

    def quiet_others(self, result: CellResult, engine: str) -> None:
        for other in ENGINES:
            try:
                waited = self.engines[other].wait_until_idle() if other != engine else 0.0
                self.longest_wait_seconds = max(self.longest_wait_seconds, waited)
            except EngineFailed as error:
                self.give_up(result, other, error)

    def give_up(self, result: CellResult, engine: str, error: EngineFailed) -> None:
        """The engine starts anew with the next cell."""
        result.errors[engine] = str(error)
        self.about.pop(engine, None)
        self.engines[engine].close()

    def evaluate(self, engine: str, variant: str, cell: Cell, warm_up: bool) -> float:
        process = self.engines[engine]
        if engine not in self.about:
            self.about[engine] = process.call(
                "open", model=self.model, threads=self.threads, context=self.context, isa=self.isa
            )
        if warm_up:
            process.call("rest", variant=variant, depth=cell.depth)
        tokens = min(cell.tokens, WARM_UP_DECODE_TOKENS) if warm_up and cell.phase == "decode" else cell.tokens
        return process.call(cell.phase, variant=variant, tokens=tokens)

    def first_token(self, engine: str, variant: str, cell: Cell, warm_up: bool) -> float:
        """In a fresh process. Loading libraries is not part of it."""
        process = self.engines[engine]
        process.close()
        self.about.pop(engine, None)
        taken = process.call("first_token", variant=variant, model=self.model, threads=self.threads, tokens=cell.tokens,
                             isa=self.isa)  # fmt: skip
        process.close()
        return taken

    def close(self) -> None:
        for process in self.engines.values():
            process.close()


def all_cells(prefill: list[int], depths: list[int], decode_tokens: int) -> list[Cell]:
    return [
        Cell("first token", FIRST_TOKEN_PROMPT),
        *(Cell("prefill", tokens) for tokens in prefill),
        *(Cell("decode", decode_tokens, depth) for depth in depths),
    ]


def context_for(cells: list[Cell]) -> int:
    return max(cell.depth + cell.tokens for cell in cells) + 2
