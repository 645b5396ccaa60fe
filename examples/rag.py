"""Documents, questions, an edit, and what the three caches saved. The model and the search are simulated.

python examples/rag.py
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from yamabiko import Reply, Request
from yamabiko.generators.passages import Passage
from yamabiko.rag.figures import Costs
from yamabiko.rag.opening import open_pipeline
from yamabiko.rag.pipeline import Stages
from yamabiko.types import Source

documents = {
    "s3://handbook/leave.txt": "Annual leave is 20 days. Leave is asked for in the portal.",
    "s3://handbook/expenses.txt": "Receipts are handed in within 30 days. Meals are paid up to 40 euros.",
    "s3://handbook/kyuka.txt": "年次有給休暇は20日です。休暇の申請はポータルから行います。",
}
QUESTIONS = (
    "How many days of annual leave do I get?",
    "How many days of annual leave are there?",
    "Up to how much are meals paid?",
    "年次有給休暇は何日ですか。",
    "年次有給休暇は何日ありますか。",
)


def shared(question: str, text: str) -> int:
    """How many pairs of letters of a question stand in a text."""
    return sum(question[at : at + 2] in text for at in range(len(question) - 1))


async def retrieve(question: str) -> tuple[Passage, ...]:
    """A search, of sorts: the document that shares most with the question."""
    best = max(documents, key=lambda uri: shared(question, documents[uri]))
    return (Passage(text=documents[best], source=Source(uri=best)),)


class Model:
    """Says the sentence of the document it is shown that shares most with the question."""

    async def __call__(self, request: Request) -> Reply:
        shown = request.messages[0].parts[0]
        text = next(text for text in documents.values() if text in shown)
        await asyncio.sleep(0.05)  # as if it thought
        sentences = text.replace("。", "。\n").replace(". ", ".\n").splitlines()
        return Reply(text=max(sentences, key=lambda sentence: shared(request.messages[0].text, sentence)))

    async def stream(self, request: Request) -> AsyncIterator[str | Reply]:
        reply = await self(request)
        for word in reply.text.split(" "):
            yield word + " "


async def main() -> None:
    stages = Stages(retrieve=retrieve, model=Model(), base="handbook")
    costs = Costs(search_usd=0.0004, embedding_usd=0.000002)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{(Path(folder) / 'cache.db').as_posix()}"
        async with open_pipeline(stages, url, costs=costs) as rag:
            for _ in range(2):
                for question in QUESTIONS:
                    await rag.answer(question)
                await rag.drain()
            for uri in ("s3://handbook/leave.txt", "s3://handbook/kyuka.txt"):
                documents[uri] = documents[uri].replace("20", "25")
                print("edited:", uri, "- forgotten:", await rag.invalidate(uri) > 0)
            for question in (QUESTIONS[0], QUESTIONS[3], QUESTIONS[2]):
                reply = await rag.answer(question)
                print(f"{question} {reply.text}  [{reply.sources[0].uri}]")
            await rag.drain()
            stream = rag.stream(QUESTIONS[0])
            print("again, in pieces:", "|".join([piece async for piece in stream]))
            print(rag.report().table())


asyncio.run(main())
