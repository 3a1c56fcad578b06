"""An example for every command, the last lines of its --help; and what the demo says first."""

from __future__ import annotations

DEMO = (
    "Two small local models answer 116 questions, and demur learns which of them the smaller one can be trusted with. "
    "Two to five minutes; 1.2 GB of models are fetched first where they are missing. "
    "Ctrl-C loses nothing."
)
PAIR = "--weak qwen2.5-7b@http://gpu:8000/v1 --strong gpt-4o@https://api.openai.com/v1"
EXAMPLES = {
    "demo": "demur demo",
    "init": f"demur init {PAIR} --prompts prompts.jsonl",
    "status": "demur status --run run",
    "run": "demur run run.toml",
    "sample": f"demur sample prompts.jsonl {PAIR} --max-usd 2",
    "label": "demur label",
    "train": "demur train",
    "join": "demur join run/new --router run/router --to run/joined",
    "calibrate": "demur calibrate prompts.jsonl --strong-share 0.3",
    "route": 'demur route "How many seconds are in a week?"',
    "explain": 'demur explain "How many seconds are in a week?"',
    "replay": "demur replay prompts.jsonl",
    "grade": "demur grade",
    "evaluate": "demur evaluate --verbose",
    "report": "demur report",
    "serve": "demur serve --allow-endpoint gpu:8000 --allow-endpoint api.openai.com#OPENAI_API_KEY",
    "launch": 'demur launch claude -- -p "Why does the test fail?"',
    "ledger": "demur ledger --by day --since 7d",
    "key": "demur key add alice --usd-per-month 20",
    "key add": "demur key add alice --usd-per-month 20",
    "key set": "demur key set alice --usd-per-month 50",
    "key list": "demur key list",
    "key remove": "demur key remove alice",
    "key spend": "demur key spend alice",
    "learn": "demur learn gateway.toml",
    "routers": "demur routers",
    "rollback": "demur rollback 3",
    "forget": "demur forget --older-than 30",
    "models": "demur models",
    "models fetch": "demur models fetch smollm2-135m",
    "doctor": "demur doctor gpt-4o@https://api.openai.com/v1",
    "entail": 'demur entail "Capital of France?" Paris "It is Paris."',
    "pairs": "demur pairs run-7b run-3b --usd-per-1k 0.5",
    "schema": "demur schema run > run.schema.json",
    "docs": "demur docs tutorial",
    "signals": "demur signals --run run",
    "judge": "demur judge items.jsonl --judge qwen2.5-coder-1.5b",
    "reproduce": "demur reproduce --run run",
    "tau": "demur tau --run run",
    "export": "demur export preferences --to preferences.parquet",
    "export routellm": "demur export routellm --to battles.json",
    "export preferences": "demur export preferences --to preferences.parquet",
    "export outcomes": "demur export outcomes --to outcomes",
    "overhead": "demur overhead --run run",
    "simulate": "demur simulate run --p95 2",
}
