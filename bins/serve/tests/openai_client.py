"""The server as the real `openai` client sees it.

usage: openai_client.py SMOLTUNE MODEL

Starts `SMOLTUNE serve --model-name MODEL` on a free port and asks it everything that the client's
two endpoints can ask. Needs the packages openai and what it brings. Ends with 0 if all holds.
"""

import asyncio
import json
import os
import subprocess
import sys
import urllib.request

import openai

KEY = "a-key-for-this-test"
MESSAGES = [{"role": "user", "content": "Name a bird."}]


class Server:
    def __init__(self, *arguments):
        command = [sys.argv[1], "serve", "--model-name", sys.argv[2], "--model-id", "m", "--port", "0"]
        environment = {**os.environ, "SMOLTUNE_API_KEY": KEY}
        self.process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, text=True, env=environment
        )
        self.url = self.process.stdout.readline().strip() + "/v1"

    def client(self, kind=openai.OpenAI, key=KEY):
        return kind(base_url=self.url, api_key=key, max_retries=0, timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(60) == 0, "the server did not end well"


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}")


def chat(client):
    def ask(**more):
        settings = {"model": "m", "messages": MESSAGES, "temperature": 0, "max_tokens": 24}
        return client.chat.completions.create(**{**settings, **more})

    whole = ask()
    choice = whole.choices[0]
    assert whole.object == "chat.completion" and choice.message.role == "assistant"
    assert choice.finish_reason in ("stop", "length"), choice
    used = whole.usage
    assert used.total_tokens == used.prompt_tokens + used.completion_tokens > 0
    assert ask().choices == whole.choices

    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage == used and not chunks[-1].choices
    pieces = [chunk.choices[0] for chunk in chunks[:-1]]
    assert pieces[0].delta.role == "assistant"
    assert pieces[-1].finish_reason == choice.finish_reason
    assert "".join(piece.delta.content or "" for piece in pieces) == choice.message.content

    two = ask(n=2, temperature=1.2, seed=4, top_p=0.9, max_completion_tokens=8)
    assert [c.index for c in two.choices] == [0, 1]
    same = ask(n=2, temperature=1.2, seed=4, top_p=0.9, max_completion_tokens=8)
    assert same.choices == two.choices
    ask(extra_body={"top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1})

    stop = choice.message.content[4:7]
    for stops in (stop, ["never said", stop]):
        cut = ask(stop=stops).choices[0]
        assert cut.message.content == choice.message.content.split(stop)[0]
        assert cut.finish_reason == "stop"

    told = ask(logprobs=True, top_logprobs=4).choices[0].logprobs.content
    assert len(told) == used.completion_tokens
    assert all(t.logprob <= 0 and len(t.top_logprobs) == 4 for t in told)
    said = bytes(byte for token in told for byte in token.bytes)
    assert said.decode(errors="replace") == choice.message.content

    # The client's helper takes `length` for an error.
    settings = {"model": "m", "messages": MESSAGES, "temperature": 0, "max_tokens": 24, "stop": stop}
    with client.chat.completions.stream(**settings) as stream:
        assert stream.get_final_completion().choices[0].message.content == cut.message.content


def completions(client):
    def ask(**more):
        settings = {"model": "m", "prompt": "Once upon a time", "temperature": 0}
        return client.completions.create(**{**settings, **more})

    whole = ask()
    assert whole.object == "text_completion" and whole.usage.completion_tokens <= 16
    assert "".join(c.choices[0].text for c in ask(stream=True)) == whole.choices[0].text
    many = ask(prompt=["Once upon a time", "A wren is"], max_tokens=5, logprobs=2)
    assert [c.index for c in many.choices] == [0, 1]
    assert len(many.choices[0].logprobs.tokens) == many.usage.completion_tokens - len(many.choices[1].logprobs.tokens)
    ids = ask(prompt=[1, 4, 7], max_tokens=5)
    assert ids.choices == ask(prompt=[[1, 4, 7]], max_tokens=5).choices
    assert ids.usage.prompt_tokens == 3


def models(client):
    assert [model.id for model in client.models.list()] == ["m"]
    assert client.models.retrieve("m").owned_by == "smoltune"


def refusals(server, client):
    ask = client.chat.completions.create
    error = refused(openai.NotFoundError, lambda: ask(model="gpt-4o", messages=MESSAGES))
    assert error.code == "model_not_found" and error.param == "model"
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    error = refused(openai.BadRequestError, lambda: ask(model="m", messages=MESSAGES, tools=[tool]))
    assert error.param == "tools"
    refused(openai.BadRequestError, lambda: ask(model="m", messages=[]))
    long = [{"role": "user", "content": "word " * 20_000}]
    error = refused(openai.BadRequestError, lambda: ask(model="m", messages=long))
    assert error.code == "context_length_exceeded"
    large = [{"role": "user", "content": "a" * (2 << 20)}]
    error = refused(openai.APIStatusError, lambda: ask(model="m", messages=large))
    assert error.status_code == 413, error
    stranger = server.client(key="wrong")
    refused(openai.AuthenticationError, lambda: stranger.models.list())


async def streams(server, count):
    """Streams at once; each says what it says alone."""
    async with server.client(openai.AsyncOpenAI) as client:

        async def one(i):
            messages = [{"role": "user", "content": f"Name {i % 8} birds."}]
            stream = await client.chat.completions.create(
                model="m", messages=messages, temperature=0, max_tokens=24, stream=True
            )
            return "".join([c.choices[0].delta.content or "" async for c in stream])

        alone = [await one(i) for i in range(8)]
        together = await asyncio.gather(*(one(i) for i in range(count)))
    assert together == [alone[i % 8] for i in range(count)]


async def left_alone(server):
    """Clients that go away in the middle free their places."""
    async with server.client(openai.AsyncOpenAI) as client:
        for _ in range(4):
            stream = await client.chat.completions.create(
                model="m", messages=MESSAGES, temperature=1, max_tokens=200, stream=True
            )
            async for _ in stream:
                break
            await stream.close()
    request = urllib.request.Request(
        server.url.removesuffix("/v1") + "/metrics", headers={"Authorization": f"Bearer {KEY}"}
    )
    for _ in range(200):
        text = urllib.request.urlopen(request).read().decode()
        if "smoltune_answers_running 0\n" in text and "smoltune_answers_waiting 0\n" in text:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(text)


async def a_full_queue():
    """What is too much gets 429, the rest is answered."""
    with Server("--batch-size", "1", "--queue", "1") as server:
        async with server.client(openai.AsyncOpenAI) as client:

            async def one():
                try:
                    await client.chat.completions.create(
                        model="m", messages=MESSAGES, temperature=1, max_tokens=150
                    )
                except openai.RateLimitError as error:
                    assert error.response.headers["retry-after"] == "1"
                    return 429
                return 200

            codes = await asyncio.gather(*(one() for _ in range(30)))
    assert set(codes) == {200, 429}, codes


def main():
    with Server() as server:
        client = server.client()
        chat(client)
        completions(client)
        models(client)
        refusals(server, client)
        asyncio.run(streams(server, 64))
        asyncio.run(left_alone(server))
    asyncio.run(a_full_queue())
    print(json.dumps({"openai": openai.__version__, "holds": True}))


main()
