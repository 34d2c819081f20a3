"""One engine in a process of its own: worker.py inlay LIBRARY | worker.py llama.cpp

Reads calls as lines of JSON from standard input, {"call": name, keywords...}, and answers each with a line,
{"result": value} or {"error": message}. Between calls it sleeps in read().
"""
import json
import os
import sys
from typing import Any


def make_engine(arguments: list[str]) -> Any:
    if arguments[0] == "inlay":
        from inlay_engine import InlayEngine

        return InlayEngine(arguments[1])
    from llama_cpp_engine import LlamaCppEngine

    return LlamaCppEngine()


def answer(engine: Any, line: str) -> dict[str, Any]:
    request = json.loads(line)
    try:
        return {"result": getattr(engine, request.pop("call"))(**request)}
    except Exception as error:  # whatever went wrong belongs into the report of the other side
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    # What an engine prints must not get between the answers.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    engine = make_engine(sys.argv[1:])
    for line in sys.stdin:
        print(json.dumps(answer(engine, line)), file=replies, flush=True)


if __name__ == "__main__":
    main()
