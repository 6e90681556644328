"""The same agent with FastMCP's client, which raises where a tool answers with an error.

    fast_agent.py URL ARGUMENTS

ARGUMENTS is a JSON object from the name of a tool to its arguments. Prints JSON: the names of the tools, and each answer.
"""

import asyncio
import json
import sys

from fastmcp import Client


async def main():
    url, calls = sys.argv[1], json.loads(sys.argv[2])
    async with Client(url) as client:
        tools = await client.list_tools()
        answers = {}
        for name, arguments in calls.items():
            answer = await client.call_tool(name, arguments)
            answers[name] = {
                "is_error": answer.is_error,
                "structured": answer.structured_content,
                "text": [part.text for part in answer.content],
            }
        print(json.dumps({"tools": [tool.name for tool in tools], "answers": answers}))


asyncio.run(main())
