"""An agent without a model: lists the tools and calls each that it has arguments for.

    agent.py SERVER MODE ARGUMENTS

SERVER is a URL, or the command that speaks MCP on its standard input and output as a JSON array. MODE is `auto` or `legacy`; ARGUMENTS is a JSON object from the name of a tool to its arguments. Prints JSON: the
revision that was agreed on, the names of the tools, and each answer.
"""

import asyncio
import json
import os
import sys

from mcp import Client
from mcp.client.stdio import StdioServerParameters


def reached(server):
    """What the client connects to."""
    if not server.startswith("["):
        return server
    command, *arguments = json.loads(server)
    return StdioServerParameters(command=command, args=arguments, cwd=os.environ["HOME"])


async def main():
    server, mode, calls = reached(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    async with Client(server, mode=mode) as client:
        tools = (await client.list_tools()).tools
        answers = {}
        for name, arguments in calls.items():
            answer = await client.call_tool(name, arguments)
            answers[name] = {
                "is_error": bool(answer.is_error),
                "structured": answer.structured_content,
                "text": [part.text for part in answer.content],
            }
        report = {
            "revision": client.protocol_version,
            "server": client.server_info.name,
            "tools": [tool.name for tool in tools],
            "answers": answers,
        }
        print(json.dumps(report))


asyncio.run(main())
