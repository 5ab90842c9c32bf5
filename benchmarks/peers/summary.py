"""The peers' answers as one file and one table: results/peers.json and results/peers.md.

python benchmarks/peers/summary.py QUESTION
"""

import json
import sys
from pathlib import Path
from typing import Any

import question

RESULTS = Path(__file__).parents[1] / "results"
HEAD = "| shape | flow | seconds | chose | own drop | drop on fresh texts | kept 0.01 |\n|---|---|---|---|---|---|---|"


def main(folder: Path) -> None:
    answers = {job: [json.loads(file.read_text()) for file in sorted((folder / job).glob("*.json"))] for job in question.SHAPES}
    (RESULTS / "peers.json").write_text(question.plain(json.dumps(answers, indent=1)) + "\n")
    rows = [
        _row(job, answer["peer"], flow, facts)
        for job, a in answers.items()
        for answer in a
        for flow, facts in answer["flows"].items()
    ]
    versions = {name: number for a in answers.values() for answer in a for name, number in answer["versions"].items()}
    lines = [HEAD, *rows, "", "Versions: " + ", ".join(f"{name} {number}" for name, number in versions.items())]
    (RESULTS / "peers.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def _row(job: str, peer: str, flow: str, facts: dict[str, Any]) -> str:
    start = f"| {job} | {peer}: {flow} | {facts.get('seconds', float('nan')):.0f} | "
    if facts["error"]:
        return start + f"failed: {' '.join(question.plain(facts['error']).split())[:300].replace('|', '/')} | - | - | - |"
    own = "-" if facts["own_drop"] is None else f"{facts['own_drop']:.4f}"
    kept = "yes" if facts["fresh_drop"] <= question.MAX_DROP else "**no**"
    return (
        start
        + f"{facts['precision']}: {facts['chose'][:200].replace('|', '/')} | {own} | {abs(facts['fresh_drop']):.4f} | {kept} |"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
