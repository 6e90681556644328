"""Measures how long each tool takes over a real MCP client, at default arguments.

    python tool_latency.py http://127.0.0.1:8080/mcp [rounds]

Start the server with MCP_CACHE_TTL_MS=0, or answers given before are measured too. Prints milliseconds as the client
waits for them: minimum, median, 99th percentile, maximum.
"""

import asyncio
import json
import statistics
import sys
import time

from mcp import Client


async def main(url: str, rounds: int) -> None:
    async with Client(url) as client:
        services = await client.call_tool("get_service_health", {"limit": 1})
        service = services.structured_content["tables"][0]["rows"][0][0]
        cause = (await client.call_tool("root_cause_analysis", {})).structured_content
        trace = next(
            (call["arguments"]["trace_id"] for call in cause.get("next", []) if call["tool"] == "trace_graph"),
            None,
        )
        if trace is None:
            logs = (await client.call_tool("search_logs", {"limit": 1})).structured_content
            trace = logs["tables"][0]["rows"][0][5]
        questions = [
            ("get_service_map", {}),
            ("get_service_health", {}),
            ("get_service_health", {"service": service}),
            ("root_cause_analysis", {}),
            ("root_cause_analysis", {"service": service, "since": "15m"}),
            ("impact_analysis", {"service": service}),
            ("get_anomaly_timeline", {}),
            ("trace_graph", {"trace_id": trace}),
            ("search_logs", {"query": "handled user"}),
            ("search_logs", {"severity": "error"}),
            ("triage", {}),
            ("what_changed", {}),
            ("test_hypothesis", {"cause": service}),
            ("compare_attributes", {}),
            ("list_services", {}),
            ("search_traces", {}),
            ("search_traces", {"sort": "slowest"}),
            ("get_log_patterns", {}),
            ("query_metrics", {}),
            ("query_metrics", {"metric": "http.server.request.duration", "function": "p95"}),
            ("aggregate", {}),
            ("aggregate", {"group_by": "url.path", "service": service}),
            ("describe_data", {}),
            ("get_evidence", {"ids": f"trace:{trace}; template:1"}),
            ("investigation", {"action": "resume"}),
        ]
        print("tool, arguments: min / median / p99 / max ms, bytes")
        for tool, arguments in questions:
            took = []
            for _ in range(rounds):
                began = time.perf_counter()
                result = await client.call_tool(tool, arguments)
                took.append((time.perf_counter() - began) * 1e3)
            size = len(json.dumps(result.structured_content or {}))
            took.sort()
            p99 = took[min(len(took) - 1, round(0.99 * len(took)))]
            times = " / ".join(f"{ms:.0f}" for ms in (took[0], statistics.median(took), p99, took[-1]))
            print(f"{tool} {json.dumps(arguments)}: {times}, {size}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 9))
