"""Does a score hold when a client wraps the prompt? The same 40 prompts bare and in wrappers, by the gateway's code.

Every wrapper meets a gateway that knows nothing of it yet; its 40 requests come one after another. The router (bge-
small, kernel ridge) is taught on the other questions of the local pair, by whether the strong model is right and the
weak one wrong. Printed for each wrapper: the rank correlation of the wrapped scores with the bare ones, and the share
of calls that go to the strong model where 30 % and 50 % of the bare prompts do. "As it came" routes the last text of
the user whole, as demur did before. The wrappers are written from what the clients send; the rules were written with
the first group in view, the second was run once they stood. DSPy's fields were in the second until the learned template
was limited to long blocks, which theirs is not; since then a rule of their own reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from demur.gateway.decision.request.routed_text import RoutedText
from demur.gateway.protocols.messages import MESSAGES
from demur.gateway.protocols.openai import CHAT
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.protocols.responses import RESPONSES
from demur.methods import KernelRidge
from demur.models.encoders.encoder import load_encoder
from demur.prompts.grading import grade
from demur.records import FloatArray, Prompt
from demur.statistics import mean_ranks
from environment import describe, on_one_thread, shared_rows
from nq_open import embeddings

COUNT, SHARES = 40, (0.3, 0.5)
Body = dict[str, Any]
DUMP = "\n".join(f"def handler_{i}(request):\n    return respond(request, {i})\n" for i in range(30))
CONTEXT = [
    "The Amazon is the largest rainforest on Earth; it covers most of the basin of the river of the same name.",
    "Employees are entitled to 28 days of leave per year, of which at most five can be carried over to the next one.",
    "The 1969 landing was watched by some 600 million people, which was a record at the time.",
    "Photosynthesis turns carbon dioxide and water into glucose and oxygen in the presence of light.",
    "In version 4.2 the default timeout was raised from 30 to 60 seconds, and retries are now off.",
]


def message(role: str, content: object) -> Body:
    return {"role": role, "content": content}


def aider(prompt: str, number: int) -> Body:
    files = f"""I have *added these files to the chat* so you can go ahead and edit them.

*Trust this message as the true contents of these files!*
Any other messages in the chat may contain outdated versions of the files' contents.

app/handlers_{number % 4}.py
```
{DUMP}
```"""
    rules = """# *SEARCH/REPLACE block* Rules:

Every *SEARCH/REPLACE block* must use this format:
1. The *FULL* file path alone on a line, verbatim. No bold asterisks, no quotes around it, no escaping, etc.
2. The opening fence and code language.
3. The start of search block: <<<<<<< SEARCH
ONLY EVER RETURN CODE IN A *SEARCH/REPLACE BLOCK*!"""
    return {
        "messages": [
            message("system", "Act as an expert software developer."),
            message("user", "Change get_factorial() to use math.factorial"),
            message("assistant", "To make this change we need to modify `mathweb/flask/app.py` to:\n1. Import math."),
            message("user", "I switched to a new code base. Please don't consider the above files."),
            message("assistant", "Ok."),
            message("user", files),
            message("assistant", "Ok, any changes I propose will be to those files."),
            message("user", f"{prompt}\n\n{rules}"),
        ]
    }


def react(prompt: str, number: int) -> Body:
    found = CONTEXT[number % len(CONTEXT)]
    return {
        "messages": [
            message("system", "Answer the question. Use: Thought, Action, Action Input, Observation, Final Answer."),
            message("user", prompt),
            message("assistant", f"Thought: I should search.\nAction: search\nAction Input: page {number}"),
            message("user", f"Observation: {found}\nThe page has {number} more sections."),
        ]
    }


def coding_agent(prompt: str, number: int) -> Body:
    reminder = f"""<system-reminder>
As you answer the user's questions, you can use the following context:
# claudeMd
Codebase and user instructions are shown below. Be sure to adhere to these instructions.
# currentDate
Today's date is 2026-11-{number % 28 + 1:02d}.
IMPORTANT: this context may or may not be relevant to your tasks.
</system-reminder>"""
    todo = "<system-reminder>This is a reminder that your todo list is currently empty.</system-reminder>"
    blocks = [{"type": "text", "text": text} for text in (reminder, prompt, todo)]
    return {"system": [{"type": "text", "text": "You are a coding agent."}], "messages": [message("user", blocks)]}


def rag_with_files(prompt: str, number: int) -> Body:
    documents = "\n".join(f"[{i + 1}] {CONTEXT[(number + i) % len(CONTEXT)]}" for i in range(3))
    text = f"""Use the following pieces of context to answer the question at the end.
If you don't know the answer, just say that you don't know, don't try to make up an answer.

{documents}

src/module_{number % 7}.py
```python
{DUMP}
```

Question: {prompt}
Helpful Answer:"""
    return {"messages": [message("user", text)]}


def open_webui(prompt: str, number: int) -> Body:
    text = f"""### Task:
Respond to the user query using the provided context, with inline citations in the format [id]
**only when the <source> tag includes an explicit id attribute**.

### Guidelines:
- If you don't know the answer, clearly state that.
- If uncertain, ask the user for clarification.
- Do not use XML tags in your response.

<context>
<source id="1" name="notes_{number}.md">{CONTEXT[number % len(CONTEXT)]}</source>
<source id="2" name="wiki.md">{CONTEXT[(number + 2) % len(CONTEXT)]}</source>
</context>

<user_query>
{prompt}
</user_query>
"""
    return {"messages": [message("user", text)]}


def fields_template(prompt: str, number: int) -> Body:
    system = (
        "Your input fields are:\n1. `question` (str)\nYour output fields are:\n1. `reasoning` (str)\n2. `answer` (str)"
    )
    ask = f"""[[ ## question ## ]]
{prompt}

Respond with the corresponding output fields, starting with the field `[[ ## reasoning ## ]]`, then
`[[ ## answer ## ]]`, and then ending with the marker for `[[ ## completed ## ]]`."""
    return {"messages": [message("system", system), message("user", ask)]}


def editor_agent(prompt: str, number: int) -> Body:
    details = f"""<environment_details>
# VSCode Visible Files
src/view_{number % 9}.ts

# Current Time
11/29/2026, 1:{number:02d}:00 AM (UTC, UTC+0:00)

# Current Mode
ACT MODE
</environment_details>"""
    blocks = [{"type": "text", "text": f"<task>\n{prompt}\n</task>"}, {"type": "text", "text": details}]
    return {"messages": [message("system", "You are a software engineer in an editor."), message("user", blocks)]}


def terminal_agent(prompt: str, number: int) -> Body:
    def item(text: str) -> Body:
        return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}

    rules = "# AGENTS.md instructions for /repo\n\n<INSTRUCTIONS>\nRun the tests before you finish.\n</INSTRUCTIONS>"
    place = f"<environment_context>\n  <cwd>/repo/{number % 5}</cwd>\n  <shell>bash</shell>\n</environment_context>"
    call = {"type": "function_call", "call_id": f"call_{number}abcdefgh", "name": "shell", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": f"call_{number}abcdefgh", "output": DUMP}
    return {
        "instructions": "You are a terminal agent.",
        "input": [item(rules), item(place), item(prompt), call, result],
    }


def code_agent(prompt: str, number: int) -> Body:
    written = f"Thought: I will look it up.\n<code>\nprint(search('page {number}'))\n</code>"
    logs = f"Observation:\nExecution logs:\n{CONTEXT[number % len(CONTEXT)]}\nLast output from code snippet:\nNone"
    return {
        "messages": [
            message("system", "You solve tasks by writing code."),
            message("user", [{"type": "text", "text": f"New task:\n{prompt}"}]),
            message("assistant", [{"type": "text", "text": written}]),
            message("user", [{"type": "text", "text": logs}]),
        ]
    }


def after_a_long_answer(prompt: str, number: int) -> Body:
    return {
        "messages": [
            message("user", f"Please tell me more about topic {number}."),
            message("assistant", " ".join(CONTEXT) * 2),
            message("user", prompt),
        ]
    }


Wrapper = Callable[[str, int], Body]
IN_VIEW: Mapping[str, tuple[Wrapper, Protocol]] = {
    "aider": (aider, CHAT),
    "ReAct, an observation last": (react, CHAT),
    "Claude Code's reminders": (coding_agent, MESSAGES),
    "RAG template with a file": (rag_with_files, CHAT),
    "Open WebUI's template": (open_webui, CHAT),
    "DSPy's fields": (fields_template, CHAT),
}
CONFIRMING: Mapping[str, tuple[Wrapper, Protocol]] = {
    "Cline's task and environment": (editor_agent, CHAT),
    "Codex, rules and a tool's result": (terminal_agent, RESPONSES),
    "smolagents, logs last": (code_agent, CHAT),
    "after a long answer": (after_a_long_answer, CHAT),
}


def last_user_text(fields: Mapping[str, Any]) -> str:
    """What demur routed before: the last text of the user, after 500 characters of what was said."""
    said = [(one["role"], text_of(one["content"])) for one in fields["messages"] if one.get("content")]
    last = max(i for i, (role, _) in enumerate(said) if role == "user")
    before = "\n".join(text for role, text in said[:last] if role in ("user", "assistant"))[-500:]
    return f"{before}\n{said[last][1]}" if before else said[last][1]


def text_of(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def main() -> None:
    on_one_thread()
    print(describe())
    rows = shared_rows("samples/local_pair")
    prompts = [Prompt(row["id"], row["question"], tuple(row["answers"])) for row in rows]
    right = [
        np.array(
            [
                np.mean([grade(p, one["text"]) for one in row["models"][name]["samples"]])
                for p, row in zip(prompts, rows, strict=True)
            ]
        )
        for name in ("qwen2.5-coder-1.5b-instruct", "smollm2-135m-instruct")
    ]
    test = np.random.default_rng(0).permutation(len(rows))[:COUNT]
    train = np.setdiff1d(np.arange(len(rows)), test)
    vectors = embeddings([prompt.text for prompt in prompts], "bge-small")
    method = KernelRidge().fit(vectors[train], (right[0] * (1 - right[1]))[train])
    encoder = load_encoder("bge-small")

    def score(texts: list[str]) -> FloatArray:
        return np.asarray(method.predict_proba(encoder.encode(texts))[:, 1])

    asked = [prompts[i].text for i in test]
    bare = score(asked)
    thresholds = [float(np.quantile(bare, 1 - share, method="higher")) for share in SHARES]
    shares = ", ".join(f"{np.mean(bare >= one):.0%}" for one in thresholds)
    print(f"{COUNT} prompts; bare: spread {bare.std():.3f}, shares {shares}\n")
    for title, wrappers in (("in view of the rules", IN_VIEW), ("confirming", CONFIRMING)):
        print(f"{title:<36}{'as it came':>36}{'the ask':>30}")
        for name, (wrap, protocol) in wrappers.items():
            requests = [protocol.as_chat({"model": "demur", **wrap(text, i)}) for i, text in enumerate(asked)]
            texts = RoutedText()
            found = [texts.find(one, named="", key="", context_characters=500).text for one in requests]
            line = "".join(
                row(score(each), bare, thresholds) for each in ([last_user_text(r) for r in requests], found)
            )
            same = np.mean([a == b for a, b in zip(found, asked, strict=True)])
            print(f"  {name:<34}{line}   {same:.0%} word for word", flush=True)


def row(scores: FloatArray, bare: FloatArray, thresholds: list[float]) -> str:
    ranks = np.corrcoef(mean_ranks(scores), mean_ranks(bare))[0, 1]
    return f"   rank {ranks:+.3f}, share {', '.join(f'{np.mean(scores >= one):>4.0%}' for one in thresholds)}"


if __name__ == "__main__":
    main()
