"""A chat model that says what it is given, so that LangGraph streams it as it streams any model's answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr


class EchoModel(BaseChatModel):
    """Streams the texts of ``pieces``, an asynchronous iterator, once. Asks no cache: it comes from one."""

    _pieces: AsyncIterator[str] = PrivateAttr()

    def __init__(self, pieces: AsyncIterator[str]) -> None:
        super().__init__(cache=False)
        self._pieces = pieces

    @property
    def _llm_type(self) -> str:
        return "yamabiko"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # LangChain demands the method, and this of one that has no use.
        raise NotImplementedError("an echo is heard by code that awaits")

    async def _astream(
        self,
        messages: list[BaseMessage],  # noqa: ARG002 - the interface; an echo needs none of it
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for piece in self._pieces:
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
        yield ChatGenerationChunk(message=AIMessageChunk(content=""))

    async def heard(self, question: str) -> AIMessage:
        """All of it as one message, once it was streamed to whoever listens to the running graph."""
        whole: AIMessageChunk | None = None
        async for chunk in self.astream(question):
            if isinstance(chunk, AIMessageChunk):
                whole = chunk if whole is None else whole + chunk
        return AIMessage(content=whole.text if whole else "", id=whole.id if whole else None)
